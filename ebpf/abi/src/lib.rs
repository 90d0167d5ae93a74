//! Records shared between the kernel-side programs and user space.
#![no_std]
