//! Buffers for packed panels, and the plain packer that serves any strides.

/// Elements of 64 bytes, so that panels are aligned to cache lines and vectors.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    _bytes: [u8; 64],
}

/// A growing, cache-line aligned buffer of plain bytes.
#[derive(Default)]
pub(super) struct PackBuffer(Vec<Line>);

impl PackBuffer {
    pub(super) const fn empty() -> PackBuffer {
        PackBuffer(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes room for so many bytes. What was in it may be lost.
    pub(super) fn grow(&mut self, bytes: usize) {
        let lines = bytes.div_ceil(64);
        if self.0.len() < lines {
            self.0.clear();
            self.0.resize(lines, Line { _bytes: [0; 64] });
        }
    }

    pub(super) fn as_mut_ptr<T>(&mut self) -> *mut T {
        self.0.as_mut_ptr().cast()
    }
}

/// Copies `k` x `cols` elements into a panel of `width` columns, the rest zeros. Goes along
/// whichever stride is 1.
///
/// # Safety
/// `panel` has room for `k * width` elements, `cols <= width`, and B is readable.
pub(super) unsafe fn pack_plain<T: Copy + Default>(
    panel: *mut T,
    b: *const T,
    row_stride: usize,
    col_stride: usize,
    k: usize,
    cols: usize,
    width: usize,
) {
    // SAFETY: i < k and j < width in the panel, j < cols in B.
    unsafe {
        if col_stride == 1 {
            for i in 0..k {
                let (to, from) = (panel.add(i * width), b.add(i * row_stride));
                std::ptr::copy_nonoverlapping(from, to, cols);
                for j in cols..width {
                    *to.add(j) = T::default();
                }
            }
            return;
        }
        // Blocks of rows, so that the panel's lines stay in L1 while columns are read.
        let mut i0 = 0;
        while i0 < k {
            let i1 = (i0 + 16).min(k);
            for j in 0..width {
                for i in i0..i1 {
                    let value = if j < cols {
                        *b.add(i * row_stride + j * col_stride)
                    } else {
                        T::default()
                    };
                    *panel.add(i * width + j) = value;
                }
            }
            i0 = i1;
        }
    }
}
