// SPDX-License-Identifier: GPL-2.0

//! Preempt notifiers: a call when the current thread is about to lose its CPU.
//!
//! C header: [`include/linux/preempt.h`](srctree/include/linux/preempt.h)

use core::marker::PhantomData;

use kernel::bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

/// What has a [`Notifier`] as a field, and what to do when the thread that has registered it is
/// scheduled out.
///
/// # Safety
///
/// [`SchedOut::raw_notifier`] and [`SchedOut::of_notifier`] must go to the same field and back.
pub(crate) unsafe trait SchedOut: Sized {
    /// Returns the notifier in `this`, without a reference to either.
    ///
    /// # Safety
    ///
    /// `this` must be valid.
    unsafe fn raw_notifier(this: *const Self) -> *const Notifier<Self>;

    /// Returns what has this notifier: `container_of()`.
    ///
    /// # Safety
    ///
    /// `notifier` must come from [`SchedOut::raw_notifier`].
    unsafe fn of_notifier(notifier: *const Notifier<Self>) -> *const Self;

    /// The thread is about to be scheduled out.
    ///
    /// # Safety
    ///
    /// To be called by the scheduler alone: in that thread, which has registered the notifier, with
    /// interrupts disabled.
    unsafe fn sched_out(&self);
}

/// Keeps preempt notifiers enabled in the scheduler.
pub(crate) struct Enabled(());

impl Enabled {
    /// Enables preempt notifiers. May sleep.
    pub(crate) fn new() -> Self {
        // SAFETY: Balanced by `drop`.
        unsafe { bindings::preempt_notifier_inc() };
        Self(())
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        // SAFETY: Balances `new`.
        unsafe { bindings::preempt_notifier_dec() };
    }
}

/// A preempt notifier, a field of the `T` that it calls.
///
/// # Invariants
///
/// `inner` is initialised, and is in the field of a pinned `T` that `T: SchedOut` goes to.
#[pin_data]
#[repr(transparent)]
pub(crate) struct Notifier<T> {
    #[pin]
    inner: Opaque<bindings::preempt_notifier>,
    _call: PhantomData<fn(&T)>,
}

impl<T: SchedOut> Notifier<T> {
    const OPS: bindings::preempt_ops = bindings::preempt_ops {
        sched_in: Some(Self::sched_in),
        sched_out: Some(Self::sched_out),
    };

    /// Creates a notifier that is not registered: `preempt_notifier_init()`.
    ///
    /// # Safety
    ///
    /// It must become the field of a pinned `T` that `T: SchedOut` goes to.
    pub(crate) unsafe fn new() -> impl PinInit<Self> {
        // INVARIANT: Initialised here; the place is the caller's promise.
        pin_init!(Self {
            inner: Opaque::new(bindings::preempt_notifier {
                link: bindings::hlist_node::default(),
                ops: (&raw const *const { &Self::OPS }).cast_mut(),
            }),
            _call: PhantomData,
        })
    }

    /// The notifier of `called`, as C has it.
    fn of(called: &T) -> *mut bindings::preempt_notifier {
        // SAFETY: A reference is valid.
        let notifier = unsafe { T::raw_notifier(called) };

        // `Self` is transparent, and so is `Opaque`.
        notifier.cast_mut().cast()
    }

    /// Has the current thread call `called.sched_out()` from now on.
    ///
    /// # Safety
    ///
    /// Preempt notifiers must be enabled, and `called` must be pinned. Its notifier must not be
    /// registered, and must be unregistered by the same thread before `called` is dropped.
    pub(crate) unsafe fn register(called: &T) {
        // SAFETY: It is initialised by the type invariants; the rest is the caller's promise.
        unsafe { bindings::preempt_notifier_register(Self::of(called)) };
    }

    /// Ends what [`Notifier::register`] began.
    ///
    /// # Safety
    ///
    /// The current thread must have registered the notifier of `called`.
    pub(crate) unsafe fn unregister(called: &T) {
        // SAFETY: The caller promises that it is registered.
        unsafe { bindings::preempt_notifier_unregister(Self::of(called)) };
    }

    /// Does nothing: XRSTOR is still to come, so that no MSR can be loaded yet.
    ///
    /// # Safety
    ///
    /// None beyond being called by the scheduler.
    unsafe extern "C" fn sched_in(_: *mut bindings::preempt_notifier, _: c_int) {}

    /// Calls the `T` around the notifier.
    ///
    /// # Safety
    ///
    /// `notifier` must be one that [`Notifier::register`] has registered.
    unsafe extern "C" fn sched_out(
        notifier: *mut bindings::preempt_notifier,
        _: *mut bindings::task_struct,
    ) {
        // SAFETY: `register` has got the pointer from `raw_notifier()` of a `T`, which lives as long
        // as the notifier is registered.
        let called = unsafe { &*T::of_notifier(notifier.cast()) };

        // SAFETY: The scheduler calls this, in the thread that has registered the notifier.
        unsafe { called.sched_out() };
    }
}
