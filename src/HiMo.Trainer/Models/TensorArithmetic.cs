// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Arithmetic without temporary scalars, and the way to a device. TorchSharp's a + b and 2.0 * a make a Scalar and do not keep it alive during the native call, so
/// the garbage collector may free it under libtorch's feet: seen about once in 60,000 operations of a training run, as the error
/// "Expected false to be true, but got false" from Scalar.h. These scalars live as long as the program.
/// </summary>
internal static class TensorArithmetic
{
    private static readonly Scalar s_one = 1;
    private static readonly Scalar s_quickGelu = 1.702;
    private static readonly Scalar s_quickGeluInverse = 1.0 / 1.702;

    /// <summary>a + b.</summary>
    /// <param name="a">Any shape.</param>
    /// <param name="b">A shape that broadcasts with it.</param>
    public static Tensor Plus(this Tensor a, Tensor b) => a.add(b, s_one);

    /// <summary>x sigmoid(1.702 x), as silu(1.702 x) / 1.702: three passes instead of five in backward, which keeps one tensor instead of three.</summary>
    /// <param name="x">Any shape.</param>
    public static Tensor QuickGelu(this Tensor x)
    {
        using DisposeScope scope = NewDisposeScope();
        return nn.functional.silu(x.mul(s_quickGelu)).mul(s_quickGeluInverse).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The tensor on a device. A GPU takes ordinary memory over before this returns and is not waited for; pinned memory it might read later, when
    /// the caller has changed it, so that is waited for.
    /// </summary>
    /// <param name="tensor">Any shape, anywhere.</param>
    /// <param name="device">Where it is wanted; there already, it is taken as it is.</param>
    public static Tensor On(this Tensor tensor, Device device) => tensor.to(device, non_blocking: !tensor.is_pinned());

    /// <summary>0 to count - 1, int64.</summary>
    /// <param name="count">How many.</param>
    public static Tensor Numbers(long count)
    {
        long[] numbers = new long[count];
        for (int i = 0; i < numbers.Length; i++)
        {
            numbers[i] = i;
        }

        return tensor(numbers);
    }
}
