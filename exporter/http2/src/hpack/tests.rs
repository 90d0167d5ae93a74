//! The examples of RFC 7541 Appendix C, and what goes wrong.

use super::huffman::tests::encode;
use super::*;
use quoll_ebpf_abi::protocols::method;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Fields but those that are nothing to us, how many there were, and the table's bytes as it counts them.
fn decode(decoder: &mut Decoder, hex: &str) -> (Vec<Field>, usize, usize) {
    let mut all = Vec::new();
    decoder.block(&bytes(hex), |field| all.push(field)).unwrap();
    let ours = all.iter().copied().filter(|field| *field != Field::Other).collect();
    (ours, all.len(), decoder.bytes)
}

/// Lengths of the table's entries as it counts them, newest first.
fn table(decoder: &Decoder) -> Vec<u32> {
    decoder.entries.iter().map(|entry| entry.bytes).collect()
}

#[test]
fn integers_are_those_of_c_1() {
    assert_eq!(Reader(&[0b1110_1010]).integer(5).unwrap(), 10);
    assert_eq!(Reader(&[0b0001_1111, 0b1001_1010, 0b0000_1010]).integer(5).unwrap(), 1337);
    assert_eq!(Reader(&[42]).integer(8).unwrap(), 42);
    assert_eq!(Reader(&[0x1f, 0x80]).integer(5), Err(HpackError::Truncated));
    assert_eq!(Reader(&[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).integer(5), Err(HpackError::Integer));
}

#[test]
fn single_fields_are_those_of_c_2() {
    let mut decoder = Decoder::default();
    let (_, count, size) = decode(&mut decoder, "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572");
    assert_eq!((count, size), (1, 55));
    let mut decoder = Decoder::default();
    assert_eq!(decode(&mut decoder, "040c 2f73 616d 706c 652f 7061 7468").2, 0);
    assert_eq!(decode(&mut decoder, "1008 7061 7373 776f 7264 0673 6563 7265 74").2, 0);
    assert_eq!(decode(&mut decoder, "82").1, 1);
}

#[test]
fn requests_leave_the_tables_of_c_3_and_c_4() {
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        let mut decoder = Decoder::default();
        let get = || vec![Field::Method(method::GET)];
        assert_eq!(decode(&mut decoder, blocks[0]), (get(), 4, 57));
        assert_eq!(decode(&mut decoder, blocks[1]), (get(), 5, 110));
        assert_eq!(decode(&mut decoder, blocks[2]), (get(), 5, 164));
        assert_eq!(table(&decoder), [54, 53, 57]);
    }
}

#[test]
fn responses_leave_the_tables_of_c_5_and_c_6_with_eviction() {
    for blocks in [
        [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 \
             474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 \
             666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 \
             3630 303b 2076 6572 7369 6f6e 3d31",
        ],
        [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 \
             63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 \
             b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
    ] {
        let mut decoder = Decoder::default();
        decoder.resize(256).unwrap();
        assert_eq!(decode(&mut decoder, blocks[0]), (vec![Field::Status(302)], 4, 222));
        assert_eq!(decode(&mut decoder, blocks[1]), (vec![Field::Status(307)], 4, 222));
        assert_eq!(decode(&mut decoder, blocks[2]), (vec![Field::Status(200)], 6, 215));
        assert_eq!(table(&decoder), [98, 52, 65]);
    }
}

/// A literal with a new name, indexed; in plain or in Huffman code.
fn literal(name: &str, value: &str, is_huffman: bool) -> Vec<u8> {
    let mut block = vec![0x40];
    for text in [name, value] {
        let (text, flag) = if is_huffman { (encode(text.as_bytes()), 0x80) } else { (text.as_bytes().to_vec(), 0) };
        assert!(text.len() < 127);
        block.push(text.len() as u8 | flag);
        block.extend(text);
    }
    block
}

#[test]
fn what_the_table_remembers_says_the_same_again() {
    for is_huffman in [false, true] {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        decoder.block(&literal("grpc-status", "14", is_huffman), |field| seen.push(field)).unwrap();
        decoder
            .block(&literal("content-type", "application/grpc+proto", is_huffman), |field| seen.push(field))
            .unwrap();
        // Both again, and the older one's name with the value 5.
        decoder.block(&[0xbf, 0xbe, 0x0f, 0x30, 1, b'5'], |field| seen.push(field)).unwrap();
        let grpc = Field::ContentType { is_grpc: true };
        assert_eq!(
            seen,
            [Field::GrpcStatus(14), grpc, Field::GrpcStatus(14), grpc, Field::GrpcStatus(5)],
            "{is_huffman}"
        );
    }
}

#[test]
fn methods_are_told_by_either_table_and_by_name() {
    for is_huffman in [false, true] {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        let mut receive = |field| seen.push(field);
        decoder.block(&literal(":method", "PATCH", is_huffman), &mut receive).unwrap();
        // Again from the table, one of the static table's, and two whose name is from there.
        let put = [0x02, 3, b'P', b'U', b'T'];
        let foo = [0x42, 3, b'F', b'O', b'O'];
        decoder.block(&[&[0xbe, 0x83][..], &put, &foo, &[0xbe]].concat(), &mut receive).unwrap();
        let methods = [method::PATCH, method::PATCH, method::POST, method::PUT, method::OTHER, method::OTHER];
        assert_eq!(seen, methods.map(Field::Method), "{is_huffman}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let block = |bytes: &[u8]| Decoder::default().block(bytes, |_| {});
    assert_eq!(block(&[0x80]), Err(HpackError::Index { index: 0, fields: 61 }));
    assert_eq!(block(&[0xbe]), Err(HpackError::Index { index: 62, fields: 61 }));
    assert_eq!(block(&[0x40, 5, b'a']), Err(HpackError::Truncated));
    assert_eq!(block(&[0x40, 0x81, 0x00, 0]), Err(HpackError::Huffman));
    assert_eq!(block(&[0x82, 0x20]), Err(HpackError::LateTable));
    // 16,385 = 31 + 16,354.
    assert_eq!(block(&[0x3f, 0xe2, 0x7f]), Err(HpackError::Table { bytes: 16_385 }));
    assert_eq!(block(&[0x3f, 0xe1, 0x7f]), Ok(()));
}

#[test]
fn memory_is_bounded_by_the_largest_table() {
    let mut decoder = Decoder::default();
    decoder.block(&[0x3f, 0xe1, 0x7f], |_| {}).unwrap();
    for _ in 0..10_000 {
        // The smallest entries that there can be.
        decoder.block(&[0x40, 0, 0], |_| {}).unwrap();
    }
    assert_eq!(decoder.entries.len(), MOST_TABLE_BYTES / ENTRY_OVERHEAD);
    assert!(decoder.held_bytes() <= 2 * MOST_TABLE_BYTES / ENTRY_OVERHEAD * size_of::<Entry>());
    assert_eq!(size_of::<Entry>(), 12);
}
