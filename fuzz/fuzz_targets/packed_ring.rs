//! A packed ring in memory that says anything: no panic, no wild iovec, no unbounded chain, and a ring
//! that broke stays broken.

#![no_main]

mod ring;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static WORLD: ring::World = ring::World::new();
}

fuzz_target!(|input: &[u8]| {
    WORLD.with(|world| world.run(true, input));
});
