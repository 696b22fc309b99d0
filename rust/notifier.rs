// SPDX-License-Identifier: GPL-2.0

//! Preempt notifiers: a call when the current thread is about to lose its CPU.
//!
//! C header: [`include/linux/preempt.h`](srctree/include/linux/preempt.h)

use core::marker::PhantomData;

use kernel::bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

/// What to do when a thread is scheduled out.
pub(crate) trait SchedOut {
    /// Called with interrupts disabled, in the thread that is about to be scheduled out.
    fn sched_out(&self);
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

/// A preempt notifier, the first field of the `T` that it calls.
///
/// # Invariants
///
/// `inner` is initialised, and is the first field of a pinned, `#[repr(C)]` `T`.
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

    /// Creates a notifier.
    ///
    /// # Safety
    ///
    /// The notifier must be the first field of a pinned `#[repr(C)]` `T`.
    pub(crate) unsafe fn new() -> impl PinInit<Self> {
        // INVARIANT: As initialised by `preempt_notifier_init()`; the place is the caller's promise.
        pin_init!(Self {
            inner: Opaque::new(bindings::preempt_notifier {
                link: bindings::hlist_node::default(),
                ops: (&raw const *const { &Self::OPS }).cast_mut(),
            }),
            _call: PhantomData,
        })
    }

    /// Has the current thread call `T::sched_out` from now on.
    ///
    /// # Safety
    ///
    /// Preempt notifiers must be enabled, `self` must not be registered, and must be unregistered by
    /// the same thread before it is dropped.
    pub(crate) unsafe fn register(&self) {
        // SAFETY: The notifier is initialised by the type invariants; the rest is the caller's promise.
        unsafe { bindings::preempt_notifier_register(self.inner.get()) };
    }

    /// Ends what [`Notifier::register`] began.
    ///
    /// # Safety
    ///
    /// The current thread must have registered `self`.
    pub(crate) unsafe fn unregister(&self) {
        // SAFETY: The caller promises that it is registered.
        unsafe { bindings::preempt_notifier_unregister(self.inner.get()) };
    }

    /// Does nothing: XRSTOR is still to come, so that no MSR can be loaded yet.
    ///
    /// # Safety
    ///
    /// None beyond being called by the scheduler.
    unsafe extern "C" fn sched_in(_: *mut bindings::preempt_notifier, _: i32) {}

    /// Calls the `T` around the notifier.
    ///
    /// # Safety
    ///
    /// `notifier` must be in a [`Notifier`].
    unsafe extern "C" fn sched_out(
        notifier: *mut bindings::preempt_notifier,
        _: *mut bindings::task_struct,
    ) {
        // SAFETY: By the type invariants `notifier` is the first field of a `T`, which lives as
        // long as the notifier is registered.
        unsafe { &*notifier.cast::<T>() }.sched_out();
    }
}
