#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    creel_fuzz::counted();
    creel_receiver::fuzzing::target("headers", creel_receiver::fuzzing::headers, data)
});
