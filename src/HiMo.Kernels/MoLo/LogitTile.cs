// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>A rectangle of one branch's logits. Columns begin at multiples of <see cref="Padding"/>, and rows are padded to one.</summary>
/// <param name="Elements">Row-major, <see cref="Stride"/> apart; the pads are written and hold no meaning.</param>
/// <param name="Stride">At least PaddedColumns.</param>
/// <param name="FirstRow">Its first row in the whole matrix.</param>
/// <param name="Rows">Its rows.</param>
/// <param name="FirstColumn">Its first column in the whole matrix.</param>
/// <param name="Columns">Its columns.</param>
internal readonly unsafe record struct LogitTile(nint Elements, nint Stride, int FirstRow, int Rows, int FirstColumn, int Columns)
{
    /// <summary>Floats of the widest register.</summary>
    public const int Padding = 16;

    public float* Pointer => (float*)Elements;

    public int PaddedColumns => Pad(Columns);

    public static int Pad(int columns) => (columns + Padding - 1) / Padding * Padding;

    /// <summary>A stride that is no multiple of a large power of two, whose rows would fall on few cache sets when read down a column.</summary>
    public static int StrideFor(int columns) => Pad(columns) % 128 == 0 ? Pad(columns) + Padding : Pad(columns);
}
