// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>What a .npy file holds: elements in C order and their shape.</summary>
/// <param name="Elements">As many values as the product of <paramref name="Shape"/>.</param>
/// <param name="Shape">Size of each dimension, outermost first; empty for a single value.</param>
/// <param name="StoredType">NumPy's name of the type in the file, for example <c>f4</c>.</param>
internal sealed record NpyArray<T>(T[] Elements, int[] Shape, string StoredType)
    where T : unmanaged
{
    /// <summary>The shape as messages show it, for example <c>8 x 16</c>.</summary>
    public string ShapeText => Shape.Length == 0 ? "a single value" : string.Join(" x ", Shape);
}
