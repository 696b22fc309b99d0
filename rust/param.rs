// SPDX-License-Identifier: GPL-2.0

//! The module parameter `strategy`, by name.
//!
//! The parameters of `module!` are numbers and not visible in sysfs, so this is what `module!` makes
//! of a parameter, with functions of its own.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use kernel::bindings;
use kernel::module_param::KernelParam;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

use super::choice::{
    Choice,
    Names, //
};
use super::strategy;

/// The index in [`Choice::ALL`] of the strategy that was asked for.
static CHOSEN: Atomic<u32> = Atomic::new(0);

/// Returns the strategy that was asked for when the module was loaded.
pub(crate) fn strategy() -> &'static Choice {
    &Choice::ALL[CHOSEN.load(Relaxed) as usize]
}

/// Takes `strategy=NAME` from insmod. What is refused keeps the module from being loaded.
///
/// # Safety
///
/// `val` must be NULL or point to a string.
unsafe extern "C" fn set(val: *const c_char, _: *const bindings::kernel_param) -> c_int {
    let name = if val.is_null() {
        None
    } else {
        // SAFETY: The caller promises a string.
        Some(unsafe { CStr::from_char_ptr(val) }.to_bytes())
    };

    match Choice::ALL
        .iter()
        .position(|c| Some(c.name().as_bytes()) == name)
    {
        Some(index) => {
            CHOSEN.store(index as u32, Relaxed);
            0
        }
        None => {
            pr_err!("unknown strategy; use strategy={}\n", Names);
            EINVAL.to_errno()
        }
    }
}

/// Answers who reads the parameter in sysfs.
///
/// # Safety
///
/// `buffer` must have a page.
unsafe extern "C" fn get(buffer: *mut c_char, _: *const bindings::kernel_param) -> c_int {
    let name = strategy().name();

    // SAFETY: The caller promises a page, and names are short.
    unsafe {
        core::ptr::copy_nonoverlapping(name.as_ptr(), buffer.cast(), name.len());
        *buffer.cast::<u8>().add(name.len()) = b'\n';
    }
    name.len() as c_int + 1
}

static OPS: bindings::kernel_param_ops = bindings::kernel_param_ops {
    // Without a value, too: the answer is to say what there is.
    flags: bindings::KERNEL_PARAM_OPS_FL_NOARG,
    set: Some(set),
    get: Some(get),
    free: None,
};

#[link_section = "__param"]
#[used(compiler)]
static PARAM: KernelParam = KernelParam::new(bindings::kernel_param {
    name: kernel::str::as_char_ptr_in_const_context(c"strategy"),
    mod_: (&raw const bindings::__this_module).cast_mut(),
    ops: &raw const OPS,
    perm: 0o444,
    level: -1,
    flags: 0,
    __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
        arg: core::ptr::null_mut(),
    },
});

macro_rules! parm {
    ($default:ident::$Default:ident, $($module:ident::$Type:ident,)*) => {
        concat!(
            "parm=strategy:When to save XFD and XFD_ERR: ",
            stringify!($default), " (default)"
            $(, ", ", stringify!($module))*,
            "\0"
        )
    };
}

const PARM_TEXT: &str = strategy::each!(parm);

#[link_section = ".modinfo"]
#[used(compiler)]
static PARM: [u8; PARM_TEXT.len()] = *PARM_TEXT.as_bytes().first_chunk().unwrap();

#[link_section = ".modinfo"]
#[used(compiler)]
static PARMTYPE: [u8; 24] = *b"parmtype=strategy:charp\0";
