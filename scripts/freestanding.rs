//! Joins `taciturn-protocol` to a crate that has a panic handler of its own, as there is where no operating system is.
//!
//! Responsible for not compiling when any crate below brings `std` in: its panic handler and this one collide (E0152). Never
//! run, only compiled (`scripts/test`).

#![no_std]

use core::panic::PanicInfo;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

pub use taciturn_protocol as protocol;
