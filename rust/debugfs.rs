// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that show text.
//!
//! Not `kernel::debugfs`: it can't add to a directory of KVM's, and its files have no owner, so that
//! one which is open while the module is unloaded would call into freed memory when it is closed.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

// In a kernel without debugfs there is nothing to add to, and nothing of this is called.
#![cfg_attr(not(CONFIG_DEBUG_FS), allow(dead_code, unused_variables))]

use kernel::bindings;
use kernel::module::this_module;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;

/// What a file shows.
pub(crate) trait Show {
    /// Writes it. May sleep.
    ///
    /// # Safety
    ///
    /// `this` must be what the file was made with, which others may use at the same time.
    unsafe fn show(this: *const Self, to: &SeqFile);
}

/// What the kernel calls for a file that shows a `T`.
struct Ops<T>(core::marker::PhantomData<T>);

impl<T: Show> Ops<T> {
    const OPS: bindings::file_operations = bindings::file_operations {
        owner: this_module::<crate::LocalModule>().as_ptr(),
        open: Some(Self::open),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };

    /// Opens the file.
    ///
    /// # Safety
    ///
    /// debugfs calls this for a file of [`file()`].
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: Both are valid, and the inode has what the file was made with.
        unsafe { bindings::single_open(file, Some(Self::show), (*inode).i_private) }
    }

    /// Reads it.
    ///
    /// # Safety
    ///
    /// seq_file calls this for a file that [`Ops::open`] has opened.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, _: *mut c_void) -> c_int {
        // SAFETY: The file is nobody else's during the call, and debugfs removes no file while it is
        // read.
        unsafe { T::show((*seq).private.cast(), SeqFile::from_raw(seq)) };
        0
    }
}

/// Adds a file that shows `this` to a directory: others may read it. What fails there is not
/// reported: debugfs is for looking.
///
/// # Safety
///
/// `dir` must be a directory, or an error, and `this` must live until it is removed.
pub(crate) unsafe fn file<T: Show>(name: &CStr, dir: *mut bindings::dentry, this: *const T) {
    #[cfg(CONFIG_DEBUG_FS)]
    // SAFETY: The caller's promise; the operations are static.
    unsafe {
        bindings::debugfs_create_file_full(
            name.as_char_ptr(),
            0o444,
            dir,
            this.cast_mut().cast(),
            core::ptr::null(),
            const { &Ops::<T>::OPS },
        )
    };
}

/// A directory of the module's own, at debugfs' root.
pub(crate) struct Dir(*mut bindings::dentry);

impl Dir {
    /// Creates it. May sleep. If that fails, files in it fail as well.
    pub(crate) fn new(name: &CStr) -> Self {
        let root = core::ptr::null_mut();
        #[cfg(CONFIG_DEBUG_FS)]
        // SAFETY: A directory without a parent is at the root.
        let dir = unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), root) };
        #[cfg(not(CONFIG_DEBUG_FS))]
        let dir = root;

        Self(dir)
    }

    /// Adds a file that shows `this`: see [`file()`].
    pub(crate) fn file<T: Show + Sync>(&self, name: &CStr, this: &'static T) {
        // SAFETY: The directory is there as long as `self`, and `this` for longer.
        unsafe { file(name, self.0, this) };
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        #[cfg(CONFIG_DEBUG_FS)]
        // SAFETY: `new` has made it. This waits for those who are reading.
        unsafe {
            bindings::debugfs_remove(self.0)
        };
    }
}

// SAFETY: A dentry belongs to no thread.
unsafe impl Send for Dir {}
// SAFETY: debugfs has locks of its own.
unsafe impl Sync for Dir {}
