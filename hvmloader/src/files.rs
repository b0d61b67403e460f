//! What SeaBIOS reads through fw_cfg.
//!
//! ```text
//!   etc/e820                 memory map
//!   etc/table-loader         "copy etc/acpi/rsdp into the F segment"; the tables themselves lie in memory already
//!   etc/smbios/smbios-*      SMBIOS
//! ```
//! Names and formats: SeaBIOS 1.16, src/fw/romfile_loader.h, src/fw/paravirt.h.

use crate::{acpi, e820, smbios, Machine};

const ALLOCATE: u32 = 1;
const IN_F_SEGMENT: u8 = 2;
/// Bytes of a command and of a file's name in it.
const COMMAND: usize = 128;
const NAME: usize = 56;
const RSDP: &str = "etc/acpi/rsdp";

/// The files of `machine`, and the tables that are to lie in its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Name and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// Tables.
    pub placed: Vec<crate::Placed>,
}

/// Everything for `machine`.
pub fn files(machine: &Machine) -> Files {
    let mut files = vec![("etc/e820".to_owned(), e820::bytes(&e820::map(machine)))];
    let mut placed = Vec::new();
    if machine.acpi {
        let tables = acpi::tables(machine);
        files.push((RSDP.to_owned(), tables.rsdp));
        files.push((
            "etc/table-loader".to_owned(),
            allocate(RSDP, 16, IN_F_SEGMENT),
        ));
        placed.push(tables.tables);
    }
    let (anchor, tables) = smbios::tables(machine);
    files.push(("etc/smbios/smbios-anchor".to_owned(), anchor));
    files.push(("etc/smbios/smbios-tables".to_owned(), tables));
    Files { files, placed }
}

/// A command for the table loader: allocate and fill.
fn allocate(file: &str, align: u32, zone: u8) -> Vec<u8> {
    let mut command = ALLOCATE.to_le_bytes().to_vec();
    command.extend(file.as_bytes());
    command.resize(4 + NAME, 0);
    command.extend(align.to_le_bytes());
    command.push(zone);
    command.resize(COMMAND, 0);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;

    #[test]
    fn loader_command_is_128_bytes_with_its_fields_in_place() {
        let command = allocate("etc/x", 16, 2);
        assert_eq!(command.len(), 128);
        assert_eq!(command[..4], [1, 0, 0, 0]);
        assert_eq!(&command[4..10], b"etc/x\0");
        assert_eq!(command[60..65], [16, 0, 0, 0, 2]);
    }

    #[test]
    fn without_acpi_there_are_no_tables() {
        let mut machine = machine();
        let names = |machine: &Machine| -> Vec<String> {
            files(machine)
                .files
                .into_iter()
                .map(|file| file.0)
                .collect()
        };
        assert!(names(&machine).contains(&RSDP.to_owned()));
        machine.acpi = false;
        assert!(!names(&machine).contains(&"etc/table-loader".to_owned()));
        assert!(files(&machine).placed.is_empty());
    }
}
