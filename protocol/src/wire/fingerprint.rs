//! FINGERPRINT: the CRC-32 that tells STUN from other protocols (RFC 8489 §14.7).
//!
//! Responsible for the checksum; it protects against mistaken identity, never against an attacker.

/// XORed onto the CRC, so that a payload that carries its own CRC-32 does not pass.
const MASK: u32 = 0x5354_554E;

/// Slicing-by-four tables of the reflected polynomial of ITU V.42: `TABLES[k][b]` is the CRC of byte `b` and `k` zero bytes.
static TABLES: [[u32; 256]; 4] = tables();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler only, where a wrong index would not compile"
)]
const fn tables() -> [[u32; 256]; 4] {
    let mut tables = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut byte = 0;
    while byte < 256 {
        let mut slice = 1;
        while slice < 4 {
            let previous = tables[slice - 1][byte];
            tables[slice][byte] = (previous >> 8) ^ tables[0][(previous & 0xFF) as usize];
            slice += 1;
        }
        byte += 1;
    }
    tables
}

#[inline(always)]
fn look_up(table: &[u32; 256], byte: u8) -> u32 {
    // A byte is always inside the table, which the compiler sees: no check remains.
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    let [table_0, table_1, table_2, table_3] = &TABLES;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let [b0, b1, b2, b3] = (crc ^ u32::from_le_bytes(*word)).to_le_bytes();
        crc = look_up(table_3, b0)
            ^ look_up(table_2, b1)
            ^ look_up(table_1, b2)
            ^ look_up(table_0, b3);
    }
    for &byte in tail {
        let [low, ..] = (crc ^ u32::from(byte)).to_le_bytes();
        crc = look_up(table_0, low) ^ (crc >> 8);
    }
    crc
}

/// The value of FINGERPRINT for the bytes before it; the header's Length must already count the attribute.
pub(super) fn fingerprint(before: &[u8]) -> u32 {
    !update(u32::MAX, before) ^ MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables take four bytes at a time; bit by bit is how the polynomial is defined (ITU-T V.42).
    #[test]
    fn the_tables_say_what_the_polynomial_says() {
        let by_bits = |bytes: &[u8]| {
            let mut crc = u32::MAX;
            for byte in bytes {
                crc ^= u32::from(*byte);
                for _ in 0..8 {
                    let carry = crc & 1;
                    crc = (crc >> 1) ^ (0xEDB8_8320 * carry);
                }
            }
            !crc
        };
        // Made again here, while the program runs: the constant is the same.
        assert_eq!(tables(), TABLES);
        for length in 0..64_u8 {
            let bytes: alloc::vec::Vec<u8> = (0..length)
                .map(|byte| byte.wrapping_mul(167) ^ length)
                .collect();
            assert_eq!(fingerprint(&bytes) ^ MASK, by_bits(&bytes), "{length}");
        }
    }

    #[test]
    fn the_checksum_agrees_with_the_published_check_value() {
        assert_eq!(fingerprint(b"123456789") ^ MASK, 0xCBF4_3926);
        assert_eq!(fingerprint(b"") ^ MASK, 0);
    }
}
