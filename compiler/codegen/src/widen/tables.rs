//! Which 128-bit instructions have which wider forms. What stands in no table is refused.

use iced_x86::{Code, Code as C, Mnemonic};

/// Instructions that only touch one lane (or none): they stay as they are.
pub(super) fn is_scalar(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Vaddss
            | M::Vsubss
            | M::Vmulss
            | M::Vdivss
            | M::Vminss
            | M::Vmaxss
            | M::Vsqrtss
            | M::Vroundss
            | M::Vcmpss
            | M::Vucomiss
            | M::Ucomiss
            | M::Vcomiss
            | M::Vmovss
            | M::Movss
            | M::Vmovd
            | M::Movd
            | M::Vmovq
            | M::Movq
            | M::Vcvtsi2ss
            | M::Vcvttss2si
            | M::Cvttss2si
            | M::Cvttsd2si
            | M::Cvtsi2ss
            | M::Cvtsi2sd
            | M::Cvtss2sd
            | M::Cvtsd2ss
            | M::Roundss
            | M::Roundsd
            | M::Comiss
            | M::Comisd
            | M::Vcomisd
            | M::Vcvtss2sd
            | M::Vcvtsd2ss
            | M::Vaddsd
            | M::Vsubsd
            | M::Vmulsd
            | M::Vdivsd
            | M::Vminsd
            | M::Vmaxsd
            | M::Vsqrtsd
            | M::Vroundsd
            | M::Vcmpsd
            | M::Vucomisd
            | M::Ucomisd
            | M::Vmovsd
            | M::Movsd
            | M::Vcvtsi2sd
            | M::Vcvttsd2si
            | M::Vfmadd132ss
            | M::Vfmadd213ss
            | M::Vfmadd231ss
            | M::Vfmsub132ss
            | M::Vfmsub213ss
            | M::Vfmsub231ss
            | M::Vfnmadd132ss
            | M::Vfnmadd213ss
            | M::Vfnmadd231ss
            | M::Vfnmsub132ss
            | M::Vfnmsub213ss
            | M::Vfnmsub231ss
            | M::Vfmadd132sd
            | M::Vfmadd213sd
            | M::Vfmadd231sd
            | M::Vfmsub132sd
            | M::Vfmsub213sd
            | M::Vfmsub231sd
            | M::Vfnmadd132sd
            | M::Vfnmadd213sd
            | M::Vfnmadd231sd
            | M::Vfnmsub132sd
            | M::Vfnmsub213sd
            | M::Vfnmsub231sd
    )
}

/// A plain move of a whole register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Move {
    /// To a register, from memory or another one.
    ToRegister,
    ToMemory,
}

impl Move {
    /// What the instruction moves, if it is such a move.
    pub(super) fn of(code: Code) -> Option<Move> {
        Some(match code {
            C::Movups_xmm_xmmm128
            | C::Movaps_xmm_xmmm128
            | C::Movdqu_xmm_xmmm128
            | C::Movdqa_xmm_xmmm128
            | C::Movupd_xmm_xmmm128
            | C::Movapd_xmm_xmmm128
            | C::VEX_Vmovups_xmm_xmmm128
            | C::VEX_Vmovaps_xmm_xmmm128
            | C::VEX_Vmovupd_xmm_xmmm128
            | C::VEX_Vmovapd_xmm_xmmm128
            | C::VEX_Vmovdqu_xmm_xmmm128
            | C::VEX_Vmovdqa_xmm_xmmm128 => Move::ToRegister,
            C::Movups_xmmm128_xmm
            | C::Movaps_xmmm128_xmm
            | C::Movdqu_xmmm128_xmm
            | C::Movdqa_xmmm128_xmm
            | C::Movupd_xmmm128_xmm
            | C::Movapd_xmmm128_xmm
            | C::VEX_Vmovups_xmmm128_xmm
            | C::VEX_Vmovaps_xmmm128_xmm
            | C::VEX_Vmovupd_xmmm128_xmm
            | C::VEX_Vmovapd_xmmm128_xmm
            | C::VEX_Vmovdqu_xmmm128_xmm
            | C::VEX_Vmovdqa_xmmm128_xmm => Move::ToMemory,
            _ => return None,
        })
    }
}

/// Whether the third operand is a 128-bit shift count.
pub(super) fn takes_count(code: Code) -> bool {
    matches!(
        code,
        C::EVEX_Vpslld_zmm_k1z_zmm_xmmm128
            | C::EVEX_Vpsrld_zmm_k1z_zmm_xmmm128
            | C::EVEX_Vpsrad_zmm_k1z_zmm_xmmm128
            | C::VEX_Vpslld_ymm_ymm_xmmm128
            | C::VEX_Vpsrld_ymm_ymm_xmmm128
            | C::VEX_Vpsrad_ymm_ymm_xmmm128
            | C::VEX_Vpsllq_ymm_ymm_xmmm128
            | C::VEX_Vpsrlq_ymm_ymm_xmmm128
    )
}

/// A lane-wise instruction on lanes of 32 bits with the same operands in registers of any width.
pub(super) struct Form {
    of_128: Code,
    pub(super) of_256: Code,
    pub(super) of_512: Code,
}

impl Form {
    pub(super) fn of(code: Code) -> Option<&'static Form> {
        FORMS.iter().find(|form| form.of_128 == code)
    }
}

const fn form(of_128: Code, of_256: Code, of_512: Code) -> Form {
    Form {
        of_128,
        of_256,
        of_512,
    }
}

static FORMS: [Form; 45] = [
    form(
        C::VEX_Vaddps_xmm_xmm_xmmm128,
        C::VEX_Vaddps_ymm_ymm_ymmm256,
        C::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vsubps_xmm_xmm_xmmm128,
        C::VEX_Vsubps_ymm_ymm_ymmm256,
        C::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vmulps_xmm_xmm_xmmm128,
        C::VEX_Vmulps_ymm_ymm_ymmm256,
        C::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vdivps_xmm_xmm_xmmm128,
        C::VEX_Vdivps_ymm_ymm_ymmm256,
        C::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vminps_xmm_xmm_xmmm128,
        C::VEX_Vminps_ymm_ymm_ymmm256,
        C::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae,
    ),
    form(
        C::VEX_Vmaxps_xmm_xmm_xmmm128,
        C::VEX_Vmaxps_ymm_ymm_ymmm256,
        C::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae,
    ),
    form(
        C::VEX_Vroundps_xmm_xmmm128_imm8,
        C::VEX_Vroundps_ymm_ymmm256_imm8,
        C::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae,
    ),
    form(
        C::VEX_Vcvtdq2ps_xmm_xmmm128,
        C::VEX_Vcvtdq2ps_ymm_ymmm256,
        C::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er,
    ),
    form(
        C::VEX_Vcvttps2dq_xmm_xmmm128,
        C::VEX_Vcvttps2dq_ymm_ymmm256,
        C::EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae,
    ),
    form(
        C::VEX_Vandps_xmm_xmm_xmmm128,
        C::VEX_Vandps_ymm_ymm_ymmm256,
        C::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vpand_xmm_xmm_xmmm128,
        C::VEX_Vpand_ymm_ymm_ymmm256,
        C::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vandpd_xmm_xmm_xmmm128,
        C::VEX_Vandpd_ymm_ymm_ymmm256,
        C::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vandnps_xmm_xmm_xmmm128,
        C::VEX_Vandnps_ymm_ymm_ymmm256,
        C::EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vpandn_xmm_xmm_xmmm128,
        C::VEX_Vpandn_ymm_ymm_ymmm256,
        C::EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vandnpd_xmm_xmm_xmmm128,
        C::VEX_Vandnpd_ymm_ymm_ymmm256,
        C::EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vorps_xmm_xmm_xmmm128,
        C::VEX_Vorps_ymm_ymm_ymmm256,
        C::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vpor_xmm_xmm_xmmm128,
        C::VEX_Vpor_ymm_ymm_ymmm256,
        C::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vorpd_xmm_xmm_xmmm128,
        C::VEX_Vorpd_ymm_ymm_ymmm256,
        C::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vxorps_xmm_xmm_xmmm128,
        C::VEX_Vxorps_ymm_ymm_ymmm256,
        C::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vpxor_xmm_xmm_xmmm128,
        C::VEX_Vpxor_ymm_ymm_ymmm256,
        C::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vxorpd_xmm_xmm_xmmm128,
        C::VEX_Vxorpd_ymm_ymm_ymmm256,
        C::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vpaddd_xmm_xmm_xmmm128,
        C::VEX_Vpaddd_ymm_ymm_ymmm256,
        C::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vpsubd_xmm_xmm_xmmm128,
        C::VEX_Vpsubd_ymm_ymm_ymmm256,
        C::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vpmulld_xmm_xmm_xmmm128,
        C::VEX_Vpmulld_ymm_ymm_ymmm256,
        C::EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vpminsd_xmm_xmm_xmmm128,
        C::VEX_Vpminsd_ymm_ymm_ymmm256,
        C::EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vpmaxsd_xmm_xmm_xmmm128,
        C::VEX_Vpmaxsd_ymm_ymm_ymmm256,
        C::EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32,
    ),
    form(
        C::VEX_Vpabsd_xmm_xmmm128,
        C::VEX_Vpabsd_ymm_ymmm256,
        C::EVEX_Vpabsd_zmm_k1z_zmmm512b32,
    ),
    form(
        C::VEX_Vpslld_xmm_xmm_imm8,
        C::VEX_Vpslld_ymm_ymm_imm8,
        C::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8,
    ),
    form(
        C::VEX_Vpsrld_xmm_xmm_imm8,
        C::VEX_Vpsrld_ymm_ymm_imm8,
        C::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8,
    ),
    form(
        C::VEX_Vpsrad_xmm_xmm_imm8,
        C::VEX_Vpsrad_ymm_ymm_imm8,
        C::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8,
    ),
    form(
        C::VEX_Vpslld_xmm_xmm_xmmm128,
        C::VEX_Vpslld_ymm_ymm_xmmm128,
        C::EVEX_Vpslld_zmm_k1z_zmm_xmmm128,
    ),
    form(
        C::VEX_Vpsrld_xmm_xmm_xmmm128,
        C::VEX_Vpsrld_ymm_ymm_xmmm128,
        C::EVEX_Vpsrld_zmm_k1z_zmm_xmmm128,
    ),
    form(
        C::VEX_Vpsrad_xmm_xmm_xmmm128,
        C::VEX_Vpsrad_ymm_ymm_xmmm128,
        C::EVEX_Vpsrad_zmm_k1z_zmm_xmmm128,
    ),
    form(
        C::VEX_Vfmadd132ps_xmm_xmm_xmmm128,
        C::VEX_Vfmadd132ps_ymm_ymm_ymmm256,
        C::EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vfmadd213ps_xmm_xmm_xmmm128,
        C::VEX_Vfmadd213ps_ymm_ymm_ymmm256,
        C::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vfmadd231ps_xmm_xmm_xmmm128,
        C::VEX_Vfmadd231ps_ymm_ymm_ymmm256,
        C::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vfmsub132ps_xmm_xmm_xmmm128,
        C::VEX_Vfmsub132ps_ymm_ymm_ymmm256,
        C::EVEX_Vfmsub132ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vfmsub213ps_xmm_xmm_xmmm128,
        C::VEX_Vfmsub213ps_ymm_ymm_ymmm256,
        C::EVEX_Vfmsub213ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vfmsub231ps_xmm_xmm_xmmm128,
        C::VEX_Vfmsub231ps_ymm_ymm_ymmm256,
        C::EVEX_Vfmsub231ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vfnmadd132ps_xmm_xmm_xmmm128,
        C::VEX_Vfnmadd132ps_ymm_ymm_ymmm256,
        C::EVEX_Vfnmadd132ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vfnmadd213ps_xmm_xmm_xmmm128,
        C::VEX_Vfnmadd213ps_ymm_ymm_ymmm256,
        C::EVEX_Vfnmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vfnmadd231ps_xmm_xmm_xmmm128,
        C::VEX_Vfnmadd231ps_ymm_ymm_ymmm256,
        C::EVEX_Vfnmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vfnmsub132ps_xmm_xmm_xmmm128,
        C::VEX_Vfnmsub132ps_ymm_ymm_ymmm256,
        C::EVEX_Vfnmsub132ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vfnmsub213ps_xmm_xmm_xmmm128,
        C::VEX_Vfnmsub213ps_ymm_ymm_ymmm256,
        C::EVEX_Vfnmsub213ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
    form(
        C::VEX_Vfnmsub231ps_xmm_xmm_xmmm128,
        C::VEX_Vfnmsub231ps_ymm_ymm_ymmm256,
        C::EVEX_Vfnmsub231ps_zmm_k1z_zmm_zmmm512b32_er,
    ),
];

/// What is done with lanes of 64 bits alone, in Cranelift's registers and in those of AVX2.
static FORMS_OF_64: [(Code, Code); 30] = [
    (C::VEX_Vaddpd_xmm_xmm_xmmm128, C::VEX_Vaddpd_ymm_ymm_ymmm256),
    (C::VEX_Vsubpd_xmm_xmm_xmmm128, C::VEX_Vsubpd_ymm_ymm_ymmm256),
    (C::VEX_Vmulpd_xmm_xmm_xmmm128, C::VEX_Vmulpd_ymm_ymm_ymmm256),
    (C::VEX_Vdivpd_xmm_xmm_xmmm128, C::VEX_Vdivpd_ymm_ymm_ymmm256),
    (C::VEX_Vminpd_xmm_xmm_xmmm128, C::VEX_Vminpd_ymm_ymm_ymmm256),
    (C::VEX_Vmaxpd_xmm_xmm_xmmm128, C::VEX_Vmaxpd_ymm_ymm_ymmm256),
    (
        C::VEX_Vroundpd_xmm_xmmm128_imm8,
        C::VEX_Vroundpd_ymm_ymmm256_imm8,
    ),
    (C::VEX_Vsqrtpd_xmm_xmmm128, C::VEX_Vsqrtpd_ymm_ymmm256),
    (C::VEX_Vpaddq_xmm_xmm_xmmm128, C::VEX_Vpaddq_ymm_ymm_ymmm256),
    (C::VEX_Vpsubq_xmm_xmm_xmmm128, C::VEX_Vpsubq_ymm_ymm_ymmm256),
    (
        C::VEX_Vpcmpeqq_xmm_xmm_xmmm128,
        C::VEX_Vpcmpeqq_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vpcmpgtq_xmm_xmm_xmmm128,
        C::VEX_Vpcmpgtq_ymm_ymm_ymmm256,
    ),
    (C::VEX_Vpsllq_xmm_xmm_imm8, C::VEX_Vpsllq_ymm_ymm_imm8),
    (C::VEX_Vpsllq_xmm_xmm_xmmm128, C::VEX_Vpsllq_ymm_ymm_xmmm128),
    (C::VEX_Vpsrlq_xmm_xmm_imm8, C::VEX_Vpsrlq_ymm_ymm_imm8),
    (C::VEX_Vpsrlq_xmm_xmm_xmmm128, C::VEX_Vpsrlq_ymm_ymm_xmmm128),
    (
        C::VEX_Vcmppd_xmm_xmm_xmmm128_imm8,
        C::VEX_Vcmppd_ymm_ymm_ymmm256_imm8,
    ),
    (
        C::VEX_Vblendvpd_xmm_xmm_xmmm128_xmm,
        C::VEX_Vblendvpd_ymm_ymm_ymmm256_ymm,
    ),
    (
        C::VEX_Vfmadd132pd_xmm_xmm_xmmm128,
        C::VEX_Vfmadd132pd_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vfmadd213pd_xmm_xmm_xmmm128,
        C::VEX_Vfmadd213pd_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vfmadd231pd_xmm_xmm_xmmm128,
        C::VEX_Vfmadd231pd_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vfmsub132pd_xmm_xmm_xmmm128,
        C::VEX_Vfmsub132pd_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vfmsub213pd_xmm_xmm_xmmm128,
        C::VEX_Vfmsub213pd_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vfmsub231pd_xmm_xmm_xmmm128,
        C::VEX_Vfmsub231pd_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vfnmadd132pd_xmm_xmm_xmmm128,
        C::VEX_Vfnmadd132pd_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vfnmadd213pd_xmm_xmm_xmmm128,
        C::VEX_Vfnmadd213pd_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vfnmadd231pd_xmm_xmm_xmmm128,
        C::VEX_Vfnmadd231pd_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vfnmsub132pd_xmm_xmm_xmmm128,
        C::VEX_Vfnmsub132pd_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vfnmsub213pd_xmm_xmm_xmmm128,
        C::VEX_Vfnmsub213pd_ymm_ymm_ymmm256,
    ),
    (
        C::VEX_Vfnmsub231pd_xmm_xmm_xmmm128,
        C::VEX_Vfnmsub231pd_ymm_ymm_ymmm256,
    ),
];

/// The form in the registers of AVX2 of an instruction on lanes of 64 bits.
pub(super) fn form_of_64(code: Code) -> Option<Code> {
    let found = FORMS_OF_64.iter().find(|(of_128, _)| *of_128 == code);
    found.map(|&(_, of_256)| of_256)
}
