// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Dense float32 in the place of matrices that are not: copies that are allocated at their first use and kept.</summary>
/// <param name="gpu">The device.</param>
/// <param name="length">Elements of a matrix.</param>
/// <param name="count">How many matrices may need a copy at a time.</param>
internal sealed class DenseCopies(Gpu gpu, long length, int count) : IDisposable
{
    private readonly MemoryBuffer1D<float, Stride1D.Dense>?[] _copies = new MemoryBuffer1D<float, Stride1D.Dense>?[count];

    /// <summary>A matrix to read, converted if need be.</summary>
    public ArrayView<float> Input(AcceleratorStream stream, int index, GpuMatrix matrix)
    {
        if (matrix.IsDenseFloat32)
        {
            return matrix.As<float>();
        }

        ArrayView<float> dense = Copy(index);
        RowConversion.ToDense(gpu, stream, matrix, dense);
        return dense;
    }

    /// <summary>Where a matrix, or one that is not wanted, is to be written before <see cref="Deliver"/>.</summary>
    public ArrayView<float> Output(int index, GpuMatrix matrix) => !matrix.IsEmpty && matrix.IsDenseFloat32 ? matrix.As<float>() : Copy(index);

    /// <summary>Brings what was written into its matrix.</summary>
    public void Deliver(AcceleratorStream stream, ArrayView<float> dense, GpuMatrix matrix)
    {
        if (!matrix.IsEmpty && !matrix.IsDenseFloat32)
        {
            RowConversion.FromDense(gpu, stream, dense, matrix);
        }
    }

    /// <summary>Frees the copies.</summary>
    public void Dispose() => Array.ForEach(_copies, copy => copy?.Dispose());

    private ArrayView<float> Copy(int index) => (_copies[index] ??= gpu.Allocate<float>(length)).View.BaseView;
}
