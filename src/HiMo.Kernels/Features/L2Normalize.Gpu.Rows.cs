// SPDX-License-Identifier: Apache-2.0
// Rows that the normalisation reads as they are stored: half, bfloat16, float32 with gaps between the rows. So a step of them needs no conversion before it.
// Mapping, Precision, Determinism, Limits   as in L2Normalize.Gpu.cs, whose body this is; one batch.
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Elements of both matrices.</summary>
internal interface IFeatureRows
{
    /// <summary>An element as float32.</summary>
    float At(long index);
}

/// <summary>Float32, of each batch.</summary>
internal struct DenseRows : IFeatureRows
{
    public BatchView<float> Data;

    /// <inheritdoc/>
    public readonly float At(long index) => Data[index];
}

/// <summary>Any stored type.</summary>
internal struct StoredRows<T, TStored> : IFeatureRows
    where T : unmanaged
    where TStored : struct, IStoredElement<T>
{
    public ArrayView<T> Data;

    /// <inheritdoc/>
    public readonly float At(long index) => TStored.Widen(Data[index]);
}

/// <summary>Arguments of <see cref="L2NormalizeGpu.StoredKernel"/>.</summary>
internal struct L2NormalizeStoredArguments<T>
    where T : unmanaged
{
    /// <summary>Images, N rows of d.</summary>
    public ArrayView<T> Images;

    /// <summary>Texts, N rows of d.</summary>
    public ArrayView<T> Texts;

    /// <summary>Elements from one row of the images to the next.</summary>
    public long ImageStride;

    /// <summary>The same of the texts.</summary>
    public long TextStride;

    /// <summary>Sizes and results; its inputs are empty.</summary>
    public L2NormalizeArguments Rows;
}

/// <summary>L2 normalisation on the GPU.</summary>
internal static partial class L2NormalizeGpu
{
    /// <summary>Whether two matrices are read as they are: of one type, and not both dense float32, which has a kernel of its own.</summary>
    public static bool TakesStored(GpuMatrix images, GpuMatrix texts) => images.Element == texts.Element && !(images.IsDenseFloat32 && texts.IsDenseFloat32);

    /// <summary>Enqueues the normalisation of matrices that <see cref="TakesStored"/>.</summary>
    public static void RunStored(BatchStream stream, GpuMatrix images, GpuMatrix texts, L2NormalizeArguments rows)
    {
        switch (images.Element)
        {
            case GpuElement.Float16 when stream.Gpu.IsOpenCl:
                Run<ushort, Float16Bits>(stream, images, texts, rows);
                break;
            case GpuElement.Float16:
                Run<ILGPU.Half, Float16Stored>(stream, images, texts, rows);
                break;
            case GpuElement.BFloat16:
                Run<ushort, BFloat16Stored>(stream, images, texts, rows);
                break;
            default:
                Run<float, Float32Stored>(stream, images, texts, rows);
                break;
        }
    }

    /// <summary>One row a warp.</summary>
    public static void StoredKernel<T, TStored>(L2NormalizeStoredArguments<T> p)
        where T : unmanaged
        where TStored : struct, IStoredElement<T>
    {
        int row = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        if (row >= p.Rows.TotalRows)
        {
            return; // a whole warp leaves, so no shuffle is split
        }

        bool isImage = row < p.Rows.Rows;
        long start = isImage ? row * p.ImageStride : (row - p.Rows.Rows) * p.TextStride;
        Scale(p.Rows, new StoredRows<T, TStored> { Data = isImage ? p.Images : p.Texts }, start, row);
    }

    private static void Run<T, TStored>(BatchStream stream, GpuMatrix images, GpuMatrix texts, L2NormalizeArguments rows)
        where T : unmanaged
        where TStored : struct, IStoredElement<T> =>
        stream.Lines(StoredKernel<T, TStored>, rows.TotalRows, new L2NormalizeStoredArguments<T>
        {
            Images = images.As<T>(), Texts = texts.As<T>(), ImageStride = images.RowStride, TextStride = texts.RowStride, Rows = rows,
        });
}
