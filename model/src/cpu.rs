// SPDX-License-Identifier: GPL-2.0
//! A CPU as the SDM has it: XFD, XFD_ERR, XCR0, XINUSE, and the instructions that go by them.
//!
//! SDM volume 1, chapter 13 ("Managing State Using the XSAVE Feature Set"). Of the components it has
//! SSE, which stands for all that XFD cannot disable, and XTILEDATA. A component's contents are one
//! number; that of the tiles is 0 if they are in their initial state. XINUSE\[18] is then 0: the SDM
//! lets it be 1 without need, which this CPU never does.

/// Of XSAVE-managed state.
pub const SSE: u64 = 1 << 1;
pub const TILES: u64 = 1 << 18;

/// What XCR0 of the host enables: x87, SSE, TILECFG and TILEDATA.
pub const XCR0: u64 = 3 | (1 << 17) | TILES;
/// The supervisor components: both of CET's.
const XSS: u64 = 3 << 11;

pub const MSR_XFD: u32 = 0x1c4;
pub const MSR_XFD_ERR: u32 = 0x1c5;
const MSR_XSS: u32 = 0xda0;

pub const GP: i32 = 13;

/// Offsets in an XSAVE area.
const XMM: usize = 160;
const XSTATE_BV: usize = 512;
const XCOMP_BV: usize = 520;
const EXTENDED: usize = 576;
const COMPACTED: u64 = 1 << 63;

/// Each component's number, size, alignment to 64 bytes, and offset in the standard format.
const COMPONENTS: [(u32, u32, bool, u32); 4] = [
    (11, 16, false, 0),
    (12, 24, false, 0),
    (17, 64, true, 2752),
    (18, 1024, true, 2816),
];

/// What one CPU has. It is a part of the state.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    pub xfd: u64,
    pub xfd_err: u64,
    pub xcr0: u64,
    pub tiles: u64,
    pub xmm: u64,
}

/// What an instruction did not do.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    Nm,
    Gp,
}

impl Cpu {
    pub const RESET: Self = Self {
        xfd: 0,
        xfd_err: 0,
        xcr0: XCR0,
        tiles: 0,
        xmm: 0,
    };

    pub fn rdmsr(&self, msr: u32) -> u64 {
        match msr {
            MSR_XFD => self.xfd,
            MSR_XFD_ERR => self.xfd_err,
            _ => 0,
        }
    }

    pub fn wrmsr(&mut self, msr: u32, value: u64) {
        match msr {
            MSR_XFD => self.xfd = value,
            MSR_XFD_ERR => self.xfd_err = value,
            MSR_XSS => {}
            _ => unreachable!("WRMSR {msr:#x}"),
        }
    }

    /// XINUSE. XFD does not affect it.
    fn in_use(&self) -> u64 {
        SSE | if self.tiles != 0 { TILES } else { 0 }
    }

    /// XGETBV: "XCR0 & XINUSE" with ECX=1.
    pub fn xgetbv(&self, index: u32) -> u64 {
        match index {
            0 => self.xcr0,
            _ => self.xcr0 & self.in_use(),
        }
    }

    /// An instruction that uses the tiles, or XRSTOR of them in a guest: "#NM if XFD\[18] is 1", and
    /// XFD_ERR then has that bit alone.
    pub fn use_tiles(&mut self, contents: u64) -> Result<(), Fault> {
        if self.xfd & TILES != 0 {
            self.xfd_err = TILES;
            return Err(Fault::Nm);
        }
        self.tiles = contents;
        Ok(())
    }

    /// TILERELEASE: "not affected by XFD".
    pub fn tilerelease(&mut self) {
        self.tiles = 0;
    }

    /// XSAVES: XSTATE_BV is XINUSE & RFBM, and a component that XFD disables is saved "as if it was in
    /// its initial state". XCOMP_BV is RFBM.
    ///
    /// # Safety
    ///
    /// `area` must be large enough for the components of `mask`.
    pub unsafe fn xsaves(&self, area: *mut u8, mask: u64) {
        let rfbm = mask & (self.xcr0 | XSS);
        let bv = rfbm & self.in_use() & !self.xfd;
        unsafe {
            write(area, XCOMP_BV, rfbm | COMPACTED);
            write(area, XSTATE_BV, bv);
            if bv & SSE != 0 {
                write(area, XMM, self.xmm);
            }
            if bv & TILES != 0 {
                write(area, tiles_at(rfbm), self.tiles);
            }
        }
    }

    /// XRSTORS: #GP for a bad header; "#NM if XFD\[i], RFBM\[i] and XSTATE_BV\[i] are 1"; what is
    /// requested and not in XSTATE_BV becomes initial, whatever XFD is.
    ///
    /// # Safety
    ///
    /// `area` must be as large as its XCOMP_BV says.
    pub unsafe fn xrstors(&mut self, area: *const u8, mask: u64) -> Result<(), Fault> {
        let (bv, comp) = unsafe { (read(area, XSTATE_BV), read(area, XCOMP_BV)) };
        if comp & COMPACTED == 0 || bv & !comp != 0 || comp & !COMPACTED & !(XCR0 | XSS) != 0 {
            return Err(Fault::Gp);
        }
        let rfbm = mask & (self.xcr0 | XSS);
        let disabled = rfbm & bv & self.xfd;
        if disabled != 0 {
            self.xfd_err = disabled;
            return Err(Fault::Nm);
        }
        unsafe {
            if rfbm & SSE != 0 {
                self.xmm = if bv & SSE != 0 { read(area, XMM) } else { 0 };
            }
            if rfbm & TILES != 0 {
                self.tiles = if bv & TILES != 0 {
                    read(area, tiles_at(comp))
                } else {
                    0
                };
            }
        }
        Ok(())
    }
}

/// CPUID, of leaves 0DH and 1DH.
pub fn cpuid(leaf: u32, index: u32) -> [u32; 4] {
    let standard = 2816 + 1024;
    let compacted = EXTENDED as u32 + 64 + 64 + 1024;
    match (leaf, index) {
        (0x0d, 0) => [XCR0 as u32, standard, standard, 0],
        (0x0d, 1) => [0xf, compacted, XSS as u32, 0],
        (0x0d, n) => {
            COMPONENTS
                .iter()
                .find(|c| c.0 == n)
                .map_or([0; 4], |&(n, size, aligned, offset)| {
                    let flags = u32::from((XSS >> n) & 1 != 0) | (u32::from(aligned) << 1);
                    [size, offset, flags, 0]
                })
        }
        (0x1d, 0) => [1, 0, 0, 0],
        // One tile of 1 KiB: the contents are one number, and this is quick to copy.
        (0x1d, 1) => [1024 | (1024 << 16), 64 | (1 << 16), 16, 0],
        _ => [0; 4],
    }
}

/// Where the tiles are in a compacted area with this XCOMP_BV.
fn tiles_at(comp: u64) -> usize {
    let mut at = EXTENDED;
    for (n, size, aligned, _) in COMPONENTS {
        if (comp >> n) & 1 == 0 {
            continue;
        }
        if aligned {
            at = at.next_multiple_of(64);
        }
        if n == 18 {
            break;
        }
        at += size as usize;
    }
    at
}

unsafe fn write(area: *mut u8, at: usize, value: u64) {
    unsafe { area.add(at).cast::<u64>().write_unaligned(value) }
}

unsafe fn read(area: *const u8, at: usize) -> u64 {
    unsafe { area.add(at).cast::<u64>().read_unaligned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = XCR0 | XSS;

    fn with(tiles: u64, xfd: u64) -> Cpu {
        Cpu {
            tiles,
            xfd,
            xmm: 5,
            ..Cpu::RESET
        }
    }

    fn saved(cpu: &Cpu) -> [u8; 2048] {
        let mut area = [0; 2048];
        unsafe { cpu.xsaves(area.as_mut_ptr(), ALL) };
        area
    }

    fn bv(area: &[u8]) -> u64 {
        unsafe { read(area.as_ptr(), XSTATE_BV) }
    }

    #[test]
    fn what_is_saved_is_restored() {
        let area = saved(&with(7, 0));
        let mut other = with(0, 0);
        other.xmm = 0;
        assert_eq!(unsafe { other.xrstors(area.as_ptr(), ALL) }, Ok(()));
        assert_eq!(other, with(7, 0));
    }

    #[test]
    fn xsaves_drops_what_xfd_disables() {
        assert_eq!(bv(&saved(&with(7, TILES))), SSE);
        assert_eq!(bv(&saved(&with(7, 0))), SSE | TILES);
        assert_eq!(bv(&saved(&with(0, 0))), SSE);
    }

    #[test]
    fn xsaves_saves_nothing_that_xcr0_hides() {
        let mut cpu = with(7, 0);
        cpu.xcr0 &= !TILES;
        assert_eq!(bv(&saved(&cpu)), SSE);
    }

    #[test]
    fn xrstors_raises_nm_for_what_xfd_disables() {
        let area = saved(&with(7, 0));
        let mut cpu = with(0, TILES);
        assert_eq!(unsafe { cpu.xrstors(area.as_ptr(), ALL) }, Err(Fault::Nm));
        assert_eq!(cpu.xfd_err, TILES);
    }

    #[test]
    fn xrstors_initialises_in_spite_of_xfd() {
        let area = saved(&with(0, 0));
        let mut cpu = with(7, TILES);
        assert_eq!(unsafe { cpu.xrstors(area.as_ptr(), ALL) }, Ok(()));
        assert_eq!(cpu.tiles, 0);
    }

    #[test]
    fn xrstors_refuses_an_area_that_is_not_compacted() {
        let mut cpu = with(7, 0);
        let area = [0u8; 2048];
        assert_eq!(unsafe { cpu.xrstors(area.as_ptr(), ALL) }, Err(Fault::Gp));
        assert_eq!(cpu, with(7, 0));
    }

    #[test]
    fn xgetbv_is_not_affected_by_xfd() {
        assert_eq!(with(7, TILES).xgetbv(1) & TILES, TILES);
        assert_eq!(with(0, 0).xgetbv(1) & TILES, 0);
    }

    #[test]
    fn a_use_of_disabled_tiles_raises_nm() {
        let mut cpu = with(7, TILES);
        assert_eq!(cpu.use_tiles(8), Err(Fault::Nm));
        assert_eq!((cpu.tiles, cpu.xfd_err), (7, TILES));
        cpu.tilerelease();
        assert_eq!(cpu.tiles, 0);
    }

    #[test]
    fn the_tiles_are_aligned_in_the_compacted_format() {
        assert_eq!(tiles_at(ALL), 576 + 64 + 64);
        assert_eq!(tiles_at(TILES | SSE), 576);
    }
}
