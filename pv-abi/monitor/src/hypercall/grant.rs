//! `grant_table_op` (20), version 1 (public/grant_table.h).
//!
//! The table is a fixed range of frames that noxen-vmm reads directly; granting is a store by the guest.
//! Mapping and copying other domains' memory would need a driver domain: every such operation answers the
//! status that a domain gets for a peer that does not exist.

use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::machine::Machine;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::grant_table::{
    DumpTable, GetStatusFrames64, GetVersion, GnttabCopy64, GnttabOp, GnttabTransfer64,
    GrantStatus, MapGrantRef, QuerySize, SetVersion, SetupTable64, UnmapAndReplace, UnmapGrantRef,
};
use noxen_pv_abi::hypercall::Hypercall;

/// The version in force, always.
const VERSION: u32 = 1;

impl<M: Machine> Cpu<'_, M> {
    /// `grant_table_op(cmd, operations, count)`.
    pub(super) fn grant_table_op(&mut self, args: &[u64; 6]) -> Answer {
        let [cmd, at, count, ..] = *args;
        let count = count as u32;
        if count > i32::MAX as u32 {
            return Err(Errno::EINVAL);
        }
        match GnttabOp(cmd as u32) {
            GnttabOp::SETUP_TABLE => self.single(count, |cpu| cpu.setup_table(at)),
            GnttabOp::QUERY_SIZE => self.single(count, |cpu| cpu.query_size(at)),
            GnttabOp::SET_VERSION => self.single(count, |cpu| cpu.set_version(at)),
            GnttabOp::GET_VERSION => self.single(count, |cpu| cpu.get_version(at)),
            GnttabOp::DUMP_TABLE => self.single(count, |cpu| cpu.dump_table(at)),
            GnttabOp::GET_STATUS_FRAMES => self.single(count, |cpu| cpu.get_status_frames(at)),
            GnttabOp::MAP_GRANT_REF => self.refuse_each(
                at,
                count,
                MapGrantRef::SIZE,
                offset_of!(MapGrantRef, status),
                GrantStatus::BAD_DOMAIN,
            ),
            GnttabOp::UNMAP_GRANT_REF => self.refuse_each(
                at,
                count,
                UnmapGrantRef::SIZE,
                offset_of!(UnmapGrantRef, status),
                GrantStatus::BAD_HANDLE,
            ),
            GnttabOp::UNMAP_AND_REPLACE => self.refuse_each(
                at,
                count,
                UnmapAndReplace::SIZE,
                offset_of!(UnmapAndReplace, status),
                GrantStatus::BAD_HANDLE,
            ),
            GnttabOp::COPY => self.refuse_each(
                at,
                count,
                GnttabCopy64::SIZE,
                offset_of!(GnttabCopy64, status),
                GrantStatus::BAD_DOMAIN,
            ),
            GnttabOp::TRANSFER => self.refuse_each(
                at,
                count,
                GnttabTransfer64::SIZE,
                offset_of!(GnttabTransfer64, status),
                GrantStatus::BAD_DOMAIN,
            ),
            GnttabOp::SWAP_GRANT_REF | GnttabOp::CACHE_FLUSH => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Operations that exist for one element only.
    fn single(&mut self, count: u32, op: impl FnOnce(&mut Self) -> Answer) -> Answer {
        if count != 1 {
            return Err(Errno::EINVAL);
        }
        op(self)
    }

    /// Status for an operation that names a domain which must be the caller's.
    fn own_or_denied(&self, domid: u16) -> GrantStatus {
        if self.is_own(domid) {
            GrantStatus::OKAY
        } else {
            GrantStatus::PERMISSION_DENIED
        }
    }

    fn setup_table(&mut self, at: u64) -> Answer {
        let asked = SetupTable64::from_bytes(&self.read_array(at).map_err(efault)?);
        let mut status = self.own_or_denied(asked.dom);
        if status == GrantStatus::OKAY && asked.nr_frames > self.dom.info.nr_grant_frames {
            status = GrantStatus::GENERAL_ERROR;
        }
        if status == GrantStatus::OKAY {
            self.dom
                .grant_frames
                .fetch_max(asked.nr_frames, Ordering::Relaxed);
            let first = self.dom.info.grant_gpa >> 12;
            for i in 0..u64::from(asked.nr_frames) {
                let mfn = first + i;
                if self
                    .write(asked.frame_list.wrapping_add(i * 8), &mfn.to_le_bytes())
                    .is_err()
                {
                    status = GrantStatus::BAD_VIRT_ADDR;
                    break;
                }
            }
        }
        self.answer_status(at, offset_of!(SetupTable64, status), status)
    }

    fn query_size(&mut self, at: u64) -> Answer {
        let asked = QuerySize::from_bytes(&self.read_array(at).map_err(efault)?);
        let status = self.own_or_denied(asked.dom);
        let mut answer = QuerySize {
            status: status.0,
            ..asked
        };
        if status == GrantStatus::OKAY {
            answer.nr_frames = self.dom.grant_frames.load(Ordering::Relaxed);
            answer.max_nr_frames = self.dom.info.nr_grant_frames;
        }
        self.write(at, &answer.to_bytes()).map_err(efault)?;
        Ok(0)
    }

    /// Version 1 is the only one; the structure tells so even when 2 is refused.
    fn set_version(&mut self, at: u64) -> Answer {
        let asked = SetVersion::from_bytes(&self.read_array(at).map_err(efault)?);
        self.write(at, &SetVersion { version: VERSION }.to_bytes())
            .map_err(efault)?;
        if asked.version == VERSION {
            Ok(0)
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn get_version(&mut self, at: u64) -> Answer {
        let asked = GetVersion::from_bytes(&self.read_array(at).map_err(efault)?);
        if !self.is_own(asked.dom) {
            return Err(Errno::EPERM);
        }
        self.write(
            at,
            &GetVersion {
                version: VERSION,
                ..asked
            }
            .to_bytes(),
        )
        .map_err(efault)?;
        Ok(0)
    }

    /// Small kernels ask for a dump on their console; there is nobody to read it.
    fn dump_table(&mut self, at: u64) -> Answer {
        let asked = DumpTable::from_bytes(&self.read_array(at).map_err(efault)?);
        let status = self.own_or_denied(asked.dom);
        self.answer_status(at, offset_of!(DumpTable, status), status)
    }

    /// Version 1 has no status frames.
    fn get_status_frames(&mut self, at: u64) -> Answer {
        let status = GrantStatus::GENERAL_ERROR;
        self.answer_status(at, offset_of!(GetStatusFrames64, status), status)
    }

    /// Gives every element the same refusal.
    pub(crate) fn refuse_each(
        &mut self,
        at: u64,
        count: u32,
        size: usize,
        status_at: usize,
        status: GrantStatus,
    ) -> Answer {
        for i in 0..u64::from(count) {
            self.answer_status(at.wrapping_add(i * size as u64), status_at, status)?;
            self.count_refused(u64::from(Hypercall::GRANT_TABLE_OP.0));
            self.breathe(i);
        }
        Ok(0)
    }

    pub(crate) fn answer_status(&self, at: u64, offset: usize, status: GrantStatus) -> Answer {
        self.write(at.wrapping_add(offset as u64), &status.0.to_le_bytes())
            .map_err(efault)?;
        Ok(0)
    }
}
