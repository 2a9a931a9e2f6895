//! Links `taciturn-protocol` where there is no operating system, to show that nothing below it brings one in.
//!
//! Responsible for failing when any crate on the way links `std`: its panic handler and this one would collide, and its allocator
//! would be missing otherwise. Never run, only linked (`scripts/test`).

#![no_std]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

struct NoMemory;

// SAFETY: an allocator may always answer that there is no memory; it then owns nothing that it could free.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _layout: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _pointer: *mut u8, _layout: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

pub use taciturn_protocol as protocol;
