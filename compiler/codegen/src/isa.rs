//! The one place where Cranelift's target and flags are chosen.

use crate::jit::CodegenError;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};

/// What the emitter must know of the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Features {
    /// Vector operands in memory need not be aligned.
    pub unaligned_operands: bool,
}

/// The machine this process runs on, with all its instruction sets.
pub(crate) fn native(verify: bool) -> Result<OwnedTargetIsa, CodegenError> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        ("is_pic", "false"),
        ("enable_verifier", if verify { "true" } else { "false" }),
        // Kernels never unwind: what they call is `extern "C"` and does not panic.
        ("unwind_info", "false"),
        ("enable_probestack", "false"),
        // Nothing points into kernels from outside.
        ("use_colocated_libcalls", "false"),
    ] {
        flags
            .set(name, value)
            .map_err(|error| CodegenError(format!("flag {name}: {error}")))?;
    }
    cranelift_native::builder()
        .map_err(|reason| CodegenError(format!("this machine is not supported: {reason}")))?
        .finish(settings::Flags::new(flags))
        .map_err(|error| CodegenError(format!("cannot make a target: {error}")))
}

/// What of `isa` matters to the emitter.
pub(crate) fn features(isa: &OwnedTargetIsa) -> Features {
    let has = |name: &str| {
        isa.isa_flags()
            .iter()
            .find(|flag| flag.name == name)
            .and_then(|flag| flag.as_bool())
    };
    Features {
        unaligned_operands: has("has_avx") != Some(false),
    }
}
