//! CRC-64 as ECMA-182 defines it, reflected, as xz uses it. Linux packs with CRC-32, so this one may be slow.

const POLYNOMIAL: u64 = 0xc96c_5795_d787_0f42;

const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

pub(super) fn hash(bytes: &[u8]) -> u64 {
    !bytes.iter().fold(!0, |crc, byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn hash_of_the_check_string_is_the_published_one() {
        assert_eq!(super::hash(b"123456789"), 0x995d_c9bb_df19_39fa);
    }
}
