//! What a register stands for in the code that is emitted.

use aec_runtime::Elem;
use cranelift_codegen::ir::{Type, types};

/// Bytes of Cranelift's registers.
const NARROW_BYTES: u32 = 16;

/// The lanes of a register. Cranelift's have 16 bytes; in wide code one stands for more of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Registers {
    /// Lanes of `lane_bytes`.
    pub lanes: u32,
    /// 4 or 8: the bytes of a mask, in wide code of all that differs between lanes.
    pub lane_bytes: u32,
}

impl Registers {
    /// Cranelift's own.
    pub const NARROW: Registers = Registers::of_bytes(NARROW_BYTES, 4);

    /// Those of so many bytes.
    pub const fn of_bytes(bytes: u32, lane_bytes: u32) -> Registers {
        Registers {
            lanes: bytes / lane_bytes,
            lane_bytes,
        }
    }

    pub fn bytes(self) -> u32 {
        self.lanes * self.lane_bytes
    }

    /// Whether the code is for `widen`.
    pub fn wide(self) -> bool {
        self.bytes() > NARROW_BYTES
    }

    /// The integer that a lane of a mask is: 0 or -1.
    pub fn mask_lane(self) -> Type {
        match self.lane_bytes {
            8 => types::I64,
            _ => types::I32,
        }
    }

    /// A register of masks, as Cranelift sees it.
    pub fn mask(self) -> Type {
        match self.lane_bytes {
            8 => types::I64X2,
            _ => types::I32X4,
        }
    }

    /// A register of such elements, as Cranelift sees it.
    pub fn of(self, elem: Elem) -> Type {
        match elem {
            Elem::F32 => types::F32X4,
            Elem::F64 => types::F64X2,
            Elem::I32 => types::I32X4,
            Elem::I64 => types::I64X2,
            Elem::Bool => self.mask(),
        }
    }

    /// How many registers hold so many lanes.
    pub fn count(self, elem: Elem, lanes: u32) -> u32 {
        match self.wide() {
            true => lanes / self.lanes,
            false => lanes / self.of(elem).lane_count(),
        }
    }
}
