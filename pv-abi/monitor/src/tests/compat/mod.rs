//! 32-bit guests: layouts, frames, page tables, and guests that do anything.

mod boot;
mod calls;
mod frames;
mod hostile;
mod memory;
mod mmu;
mod segment;
