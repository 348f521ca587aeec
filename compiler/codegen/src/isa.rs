//! The one place where Cranelift's target and flags are chosen.

use crate::emit::{self, Registers};
use crate::jit::CodegenError;
use aec_kernels::lir::Kernel;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};

/// What the emitter must know of the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Features {
    /// Vector operands in memory need not be aligned.
    pub unaligned_operands: bool,
}

/// The machine this process runs on, with all its instruction sets, for two kinds of kernels.
pub(crate) struct Targets {
    /// Code is simplified and moved. What is pure stands before its first use, one chain of operations
    /// after the other, in whatever order it was written.
    pub moved: OwnedTargetIsa,
    /// Code stands as it was written: see [`emit::keeps_order`].
    in_order: OwnedTargetIsa,
}

impl Targets {
    pub(crate) fn native(verify: bool) -> Result<Targets, CodegenError> {
        Ok(Targets {
            moved: native(verify, "speed")?,
            in_order: native(verify, "none")?,
        })
    }

    /// How to compile a kernel for such registers.
    pub(crate) fn of(&self, kernel: &Kernel, registers: Registers) -> &OwnedTargetIsa {
        match emit::keeps_order(kernel, registers) {
            true => &self.in_order,
            false => &self.moved,
        }
    }
}

fn native(verify: bool, opt_level: &str) -> Result<OwnedTargetIsa, CodegenError> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", opt_level),
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
