//! What the kernel side cannot make sense of by itself: protocols that need more state than it can hold.

pub mod http2;
