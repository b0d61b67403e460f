//! LZMA2: LZMA in chunks, each with its sizes and with resets as its first byte says.
//!
//! ```text
//! 00            end
//! 01 / 02       stored chunk, with / without dictionary reset: size - 1 u16
//! 80..=ff       LZMA chunk: 1rruuuuu, unpacked size - 1 (u + u16), packed size - 1 u16, [parameters if r >= 2]
//!               r: 0 go on, 1 reset the state, 2 and new parameters, 3 and reset the dictionary
//! ```
//! Numbers are big-endian.

use super::{too_long, Input};
use crate::unpack::lzma::{describe, Model, Parameters, Range};

/// Unpacks chunks up to the end mark; gives the number of bytes.
pub(super) fn unpack(input: &mut Input<'_>, out: &mut [u8], zeroed: bool) -> Result<usize, String> {
    let mut done = 0;
    // Where the dictionary starts; None before the first reset, which the first chunk must bring.
    let mut dictionary = None;
    let mut model: Option<Model> = None;
    loop {
        let control = input.take(1)?[0];
        if control == 0 {
            return Ok(done);
        }
        if control == 1 || control >= 0xe0 {
            dictionary = Some(done);
            model = None;
        }
        let start = dictionary.ok_or("its first chunk does not reset the dictionary")?;
        let low = usize::from(u16::from_be_bytes(input.array()?));
        if control < 0x80 {
            if control > 2 {
                return Err(format!("a chunk starts with {control:#04x}"));
            }
            let bytes = input.take(low + 1)?;
            let target = out.get_mut(done..done + bytes.len());
            target.ok_or_else(|| too_long(done))?.copy_from_slice(bytes);
            done += bytes.len();
            continue;
        }
        let unpacked = (usize::from(control & 0x1f) << 16) + low + 1;
        let packed = usize::from(u16::from_be_bytes(input.array()?)) + 1;
        if control >= 0xc0 {
            let parameters =
                Parameters::from_byte(input.take(1)?[0]).filter(Parameters::fits_lzma2);
            model = Some(Model::new(
                parameters.ok_or("a chunk's parameters are out of range")?,
            ));
        } else if control >= 0xa0 {
            model = model.map(|m| Model::new(m.parameters()));
        }
        let model = model
            .as_mut()
            .ok_or("a chunk needs parameters that were never given")?;
        let target = out
            .get_mut(start..done + unpacked)
            .ok_or_else(|| too_long(done))?;
        let (from, to) = (done - start, target.len());
        let mut range = Range::new(input.take(packed)?).ok_or("a chunk has no start")?;
        model
            .decode(&mut range, target, from..to, zeroed)
            .map_err(|(stop, got)| {
                format!("{} in a chunk", describe(stop, start + got, start + to))
            })?;
        if !range.finished() || !range.at_end() {
            return Err(format!(
                "a chunk does not end where it says (after {} unpacked bytes)",
                done + unpacked
            ));
        }
        done += unpacked;
    }
}
