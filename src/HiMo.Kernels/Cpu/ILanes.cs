// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>
/// One vector register of floats, so that a kernel is written once and instantiated for 512, 256 and 128 bits. The implementations
/// are single-field structs whose members inline: the compiled loop is the one written with the register type itself.
/// </summary>
/// <typeparam name="TSelf">The implementing struct.</typeparam>
internal unsafe interface ILanes<TSelf>
    where TSelf : struct, ILanes<TSelf>
{
    /// <summary>Floats in a register.</summary>
    static abstract int Count { get; }

    /// <summary>Rows of a GEMM register tile two registers wide: 12 where the machine has 32 registers, 6 where it has 16.</summary>
    static abstract int TileRows { get; }

    static abstract TSelf Zero { get; }

    static abstract TSelf Broadcast(float value);

    static abstract TSelf Load(float* source);

    static abstract void Store(TSelf value, float* target);

    static abstract TSelf Add(TSelf left, TSelf right);

    static abstract TSelf Subtract(TSelf left, TSelf right);

    static abstract TSelf Multiply(TSelf left, TSelf right);

    /// <summary>The machine's own maximum: of a NaN and a number, x86 gives the right operand.</summary>
    static abstract TSelf Max(TSelf left, TSelf right);

    /// <summary>The machine's own minimum, with the same rule.</summary>
    static abstract TSelf Min(TSelf left, TSelf right);

    /// <summary>left * right + addend, fused where the machine can.</summary>
    static abstract TSelf MultiplyAdd(TSelf left, TSelf right, TSelf addend);

    /// <summary>Nearest integer, ties to even.</summary>
    static abstract TSelf Round(TSelf value);

    /// <summary>2^n for integral n from -126 to 127, made from the exponent's bits.</summary>
    static abstract TSelf PowerOfTwo(TSelf exponent);

    /// <summary>value where left is greater than right, otherwise elsewhere; a NaN compares false.</summary>
    static abstract TSelf SelectGreater(TSelf left, TSelf right, TSelf value, TSelf elsewhere);

    /// <summary>Sum of the lanes, in a fixed order.</summary>
    static abstract float Sum(TSelf value);
}
