//! Square roots by multiply-adds, to the last bit what `vsqrtps` gives.
//!
//! The processor's divider takes 12 cycles for a square root of 16 lanes and 10 for a quotient, one
//! after the other; Adam needs one of each per weight. Multiply-adds take a square root beside the
//! divider's quotient. (Quotients as well by multiply-adds would be slower: then the multiply-adds
//! are what there is too much of.)
//!
//! With `y`, what `vrsqrt14ps` says of `1 / sqrt(x)` (at most 2⁻¹⁴ of it off), a step of Newton's for
//! the root `g` and for half its reciprocal `h`, then what is left, exactly, by one rounding
//! (Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", 1990):
//!
//! ```text
//! g = x y          h = y / 2        r = 1/2 - g h
//! g = g + g r      h = h + h r      d = x - g g        root = g + d h
//! ```
//!
//! The result is the correctly rounded root whatever `y` is within its bound, so on every processor:
//! tried for each of the 2²⁴ `x` in `[1, 4)` with each of the some 1500 `y`; a power of 4 times `x`
//! changes exponents only. Without the second step for `h` it fails, at `1 + 2⁻²³` among others. What
//! is left is exact, or too small to matter, from 2⁻¹⁰⁰ on, with and without denormals. Zero goes the
//! same way from `y = 0`, as weights whose gradient has never been other than 0 are not rare. For a
//! vector with any other lane (tiny, infinite, negative, not a number) the instruction itself waits
//! behind the kernel's end.

use super::slots::Pool;
use super::to512::{SCRATCH, load_constant, with_constant};
use super::{make2, make3};
use iced_x86::{Code, Instruction, OpKind, Register};

/// What the steps below overwrite, besides the root's own register and mask registers 0 and 1.
const GUESS: Register = SCRATCH;
const ROOT: Register = Register::ZMM28;
const REST: Register = Register::ZMM29;

/// Where the instructions for vectors with other lanes are taken to lie, far from the code.
const OTHERWISE: u64 = 0x3000_0000;

/// Bits of 2⁻¹⁰⁰, of what lies from there to infinity, and of one half: constants of the steps.
const LEAST: u32 = (127 - 100) << 23;
const SPAN: u32 = 0x7f80_0000 - LEAST;
const HALF: u32 = 0x3f00_0000;

/// The square roots of one kernel.
#[derive(Default)]
pub(super) struct Roots {
    /// What waits behind the kernel's end.
    otherwise: Vec<Instruction>,
}

impl Roots {
    /// Appends the root of the lanes of `x` in place of them; `after` is the address of what follows.
    pub(super) fn push(
        &mut self,
        x: Register,
        after: u64,
        pool: &mut Pool<'_>,
        out: &mut Vec<Instruction>,
    ) {
        use Code as C;
        let [least, span, half] = [LEAST, SPAN, HALF].map(|bits| pool.add(bits));
        let (fits, zero) = (Register::K1, Register::K0);
        let mut below_span = with_constant(
            make2(C::EVEX_Vpcmpud_kr_k1_zmm_zmmm512b32_imm8, fits, GUESS),
            2,
            span,
        );
        below_span.set_op3_kind(OpKind::Immediate8);
        below_span.set_immediate8(1);
        let otherwise = OTHERWISE + self.otherwise.len() as u64;
        let multiply = C::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er;
        out.extend([
            with_constant(
                make2(C::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32, GUESS, x),
                2,
                least,
            ),
            below_span,
            make3(C::EVEX_Vptestnmd_kr_k1_zmm_zmmm512b32, zero, x, x),
            make2(C::EVEX_Vrsqrt14ps_zmm_k1z_zmmm512b32, GUESS, x),
            make2(C::VEX_Kortestw_kr_kr, fits, zero),
            // Not all lanes are one or the other.
            jump(C::Jae_rel32_64, otherwise),
            where_it(fits, make3(multiply, ROOT, x, GUESS)),
            where_it(fits, with_constant(make2(multiply, GUESS, GUESS), 2, half)),
            load_constant(REST, half),
            make3(
                C::EVEX_Vfnmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
                REST,
                ROOT,
                GUESS,
            ),
            make3(
                C::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
                ROOT,
                ROOT,
                REST,
            ),
            make3(
                C::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
                GUESS,
                GUESS,
                REST,
            ),
            make3(
                C::EVEX_Vfnmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
                x,
                ROOT,
                ROOT,
            ),
            make3(
                C::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
                x,
                GUESS,
                ROOT,
            ),
        ]);
        let mut divider = make2(C::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er, x, x);
        divider.set_ip(otherwise);
        self.otherwise
            .extend([divider, jump(C::Jmp_rel32_64, after)]);
    }

    /// Appends what goes behind the kernel's end.
    pub(super) fn finish(&mut self, out: &mut Vec<Instruction>) {
        out.append(&mut self.otherwise);
    }
}

fn jump(code: Code, to: u64) -> Instruction {
    let mut new = Instruction::default();
    new.set_code(code);
    new.set_op0_kind(OpKind::NearBranch64);
    new.set_near_branch64(to);
    new
}

/// With 0 in lanes that the mask leaves out.
fn where_it(mask: Register, mut instruction: Instruction) -> Instruction {
    instruction.set_op_mask(mask);
    instruction.set_zeroing_masking(true);
    instruction
}
