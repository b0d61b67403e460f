//! The domain as its monitor window has it.

use super::HvmMachine;
use crate::counters::Groups;
use crate::prompt::subject::{Card, Drive, Lines, PciFunction, Subject};
use crate::prompt::Prompt;
use crate::viewers::Guestbook;
use crate::vstate::vm::Signal;
use noxen_control::message::CaseButton;
use noxen_control::{Event, Status};
use noxen_pc::usb::{Kind, Listed, Plug};
use noxen_pc::vga::Area;
use noxen_pc::{Pointing, Touch};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

/// What the window tells of a domain, and nothing else needs.
#[derive(Debug, Default)]
pub struct About {
    /// Name.
    pub name: String,
    /// UUID, in hexadecimal.
    pub uuid: String,
    /// Who looks at the screen, if anybody can.
    pub book: Option<Arc<Guestbook>>,
    /// The window, if there is one.
    pub prompt: Option<Prompt>,
}

impl HvmMachine {
    /// Does what was typed in the window; what it wants of xend is returned.
    pub fn serve_prompt(&mut self) -> Option<Event> {
        let mut prompt = self.about.prompt.take()?;
        let event = prompt.serve(self);
        self.about.prompt = Some(prompt);
        event
    }

    /// The window.
    pub fn prompt(&mut self) -> Option<&mut Prompt> {
        self.about.prompt.as_mut()
    }

    pub(super) fn fulfilled(&mut self, number: u64, refusal: Option<&str>) -> Result<(), String> {
        match self.prompt() {
            Some(prompt) => prompt.fulfilled(number, refusal),
            None => Err("the domain has no monitor window (monitor = 1)".into()),
        }
    }

    /// Writes what the guest shows, as a PPM.
    pub(super) fn screendump(&self, file: File) -> Result<(), String> {
        let view = self.pc.view().ok_or("the domain has no display")?;
        let (width, height) = view.size();
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::new(file);
            write!(file, "P6\n{width} {height}\n255\n")?;
            let (mut pixels, mut bytes) = (Vec::new(), Vec::new());
            for y in 0..height {
                pixels.clear();
                bytes.clear();
                let line = Area {
                    x: 0,
                    y,
                    width,
                    height: 1,
                };
                view.read(line, &mut pixels);
                bytes.extend(pixels.iter().flat_map(|pixel| {
                    let [_, red, green, blue] = pixel.to_be_bytes();
                    [red, green, blue]
                }));
                file.write_all(&bytes)?;
            }
            file.flush()
        };
        write().map_err(|error| format!("the picture cannot be written: {error}"))
    }
}

impl Subject for HvmMachine {
    fn identity(&self) -> (String, String) {
        (self.about.name.clone(), self.about.uuid.clone())
    }

    fn status(&self) -> Status {
        HvmMachine::status(self)
    }

    fn registers(&mut self) -> String {
        self.crew.registers()
    }

    fn counters(&self) -> Groups {
        HvmMachine::counters(self)
    }

    fn drives(&self) -> Vec<Drive> {
        let emulated = self.emulated.as_ref();
        emulated.map_or_else(Vec::new, |emulated| emulated.drives.shown())
    }

    fn cards(&self) -> Vec<Card> {
        let emulated = self.emulated.as_ref();
        emulated.map_or_else(Vec::new, |emulated| emulated.cards.shown())
    }

    fn pci(&self) -> Vec<PciFunction> {
        self.pc.functions()
    }

    fn lines(&self) -> Lines {
        self.pc.lines()
    }

    fn usb(&self) -> Option<Vec<Listed>> {
        self.emulated.as_ref()?.drives.usb()
    }

    fn pointing(&self) -> Option<Pointing> {
        self.pc.pointing()
    }

    fn viewers(&self) -> Vec<String> {
        let book = self.about.book.as_ref();
        book.map_or(Vec::new(), |book| book.viewers())
    }

    fn stop(&mut self) {
        self.pause();
    }

    fn go_on(&mut self) -> Result<(), String> {
        self.unpause()
    }

    fn reset(&mut self) -> Result<(), String> {
        self.press(CaseButton::Reset)
    }

    fn press_power(&mut self) -> Result<(), String> {
        self.press(CaseButton::Power)
    }

    fn nmi(&mut self, vcpu: u32) -> Result<(), String> {
        self.signal(vcpu, Signal::Nmi)
    }

    fn touch(&mut self, touch: Touch) -> bool {
        self.pc.touch(touch)
    }

    fn memory(&self, address: u64, into: &mut [u8]) -> bool {
        let memory = &self.pc.hub().memory;
        memory.read_slice(into, GuestAddress(address)).is_ok()
    }

    fn usb_add(&mut self, kind: Kind) -> Result<(), String> {
        self.emulated()?.drives.usb_add(Plug::Hid(kind))
    }

    fn usb_del(&mut self, number: u8) -> Result<(), String> {
        self.emulated()?.drives.usb_del(number)
    }

    fn usb_room(&mut self) -> Result<&'static str, String> {
        let emulated = self.emulated.as_mut();
        emulated
            .ok_or("the machine has no emulated drives")?
            .drives
            .usb_room()
    }

    fn set_password(&mut self, password: Option<String>) -> Result<(), String> {
        let book = self.about.book.as_ref();
        book.ok_or("nobody can look at the screen by VNC (vnc = 1)")?
            .set_password(password);
        Ok(())
    }
}
