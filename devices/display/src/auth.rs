//! VNC authentication (RFC 6143, 7.2.2): the viewer encrypts sixteen bytes of chance with the password, by DES.
//!
//! It keeps out who does not know the password and nothing else: eight characters count, and what follows is plain.

use des::cipher::{BlockCipherEncrypt, KeyInit};
use des::Des;

/// Bytes of a challenge and of its answer.
pub const CHALLENGE: usize = 16;

/// What answers `challenge` for those who know `password`.
pub fn answer(password: &str, challenge: &[u8; CHALLENGE]) -> [u8; CHALLENGE] {
    // The first eight bytes, each with its bits in reverse.
    let mut key = [0; 8];
    for (to, from) in key.iter_mut().zip(password.bytes()) {
        *to = from.reverse_bits();
    }
    let cipher = Des::new(&key.into());
    let mut answer = *challenge;
    for half in answer.chunks_exact_mut(8) {
        let mut block = [0; 8];
        block.copy_from_slice(half);
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        half.copy_from_slice(&block);
    }
    answer
}

/// Whether `given` answers `challenge`; takes as long whatever is wrong.
pub fn is_right(password: &str, challenge: &[u8; CHALLENGE], given: &[u8; CHALLENGE]) -> bool {
    let pairs = answer(password, challenge).into_iter().zip(given);
    pairs.fold(0, |differences, (right, given)| {
        differences | (right ^ given)
    }) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_what_viewers_give() {
        // By `openssl enc -des-ecb -nopad`, the key being the bytes of "secret\0\0" with their bits reversed.
        let challenge: [u8; 16] = std::array::from_fn(|index| index as u8);
        let given = answer("secret", &challenge);
        assert_eq!(given, EXPECTED);
        assert!(is_right("secret", &challenge, &given));
        assert!(is_right(
            "secret12x",
            &challenge,
            &answer("secret12y", &challenge)
        ));
        assert!(!is_right("Secret", &challenge, &given));
        assert!(!is_right("", &challenge, &given));
    }

    const EXPECTED: [u8; 16] = [
        0xee, 0x22, 0x53, 0x9f, 0x33, 0xa5, 0x98, 0x3e, 0xc1, 0x2f, 0x9c, 0x2e, 0xdb, 0xc9, 0x95,
        0xdd,
    ];
}
