// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>The raw little-endian elements of a tensor in C order.</summary>
internal static class TensorBytes
{
    private const int ChunkElements = 1 << 22;

    /// <summary>Writes all elements, converting a piece at a time.</summary>
    /// <param name="stream">Receives them.</param>
    /// <param name="value">Any strides, type and device.</param>
    /// <param name="type">The type to write.</param>
    public static void Write(Stream stream, Tensor value, ScalarType type)
    {
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Tensor flat = value.detach().contiguous().view(-1);
        for (long start = 0; start < flat.shape[0]; start += ChunkElements)
        {
            using DisposeScope piece = NewDisposeScope();
            Tensor part = flat.narrow(0, start, Math.Min(ChunkElements, flat.shape[0] - start));
            stream.Write(part.to(type, CPU).bytes);
        }
    }
}
