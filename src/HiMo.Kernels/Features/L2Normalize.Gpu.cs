// SPDX-License-Identifier: Apache-2.0
// Rows of two matrices scaled to unit length, y = x / max(|x|, 1e-12).        HiMo-CLIP (arXiv:2511.06653), features before HiDe
// Shapes     x, y: 2 x N x d, the second matrix after the first; inverseNorm: 2 N, 0 where a row is at the clamp: its gradient is 0.
// Mapping    a warp a row; three passes over the row, the second and third from cache.
// Precision  the largest magnitude is taken out first, so that no square overflows or vanishes; float32 sums in a fixed order.
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>Arguments of <see cref="L2NormalizeGpu.Kernel"/>.</summary>
internal struct L2NormalizeArguments
{
    /// <summary>Images, N x d.</summary>
    public ArrayView<float> Images;

    /// <summary>Texts, N x d.</summary>
    public ArrayView<float> Texts;

    /// <summary>Receives unit images, then unit texts.</summary>
    public ArrayView<float> Unit;

    /// <summary>Receives 1 / |x| of the images, then of the texts.</summary>
    public ArrayView<float> InverseNorm;

    /// <summary>N.</summary>
    public int Rows;

    /// <summary>d.</summary>
    public int Columns;
}

/// <summary>L2 normalisation on the GPU; its backward pass is in the epilogue of the last product, <see cref="FeatureGradient"/>.</summary>
internal static class L2NormalizeGpu
{
    public const float MinNorm = 1e-12f;

    /// <summary>One row a warp.</summary>
    public static void Kernel(L2NormalizeArguments p)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int row = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        if (row >= 2 * p.Rows)
        {
            return; // a whole warp leaves, so no shuffle is split
        }

        bool isImage = row < p.Rows;
        long start = (long)(isImage ? row : row - p.Rows) * p.Columns;
        long target = (long)row * p.Columns;
        float largest = 0.0f;
        for (int k = lane; k < p.Columns; k += Gpu.WarpSize)
        {
            float value = isImage ? p.Images[start + k] : p.Texts[start + k];
            p.Unit[target + k] = value;
            largest = XMath.Max(largest, XMath.Abs(value));
        }

        largest = XMath.Max(largest, Warp.ShuffleXor(largest, 16));
        largest = XMath.Max(largest, Warp.ShuffleXor(largest, 8));
        largest = XMath.Max(largest, Warp.ShuffleXor(largest, 4));
        largest = XMath.Max(largest, Warp.ShuffleXor(largest, 2));
        largest = XMath.Max(largest, Warp.ShuffleXor(largest, 1));
        float magnitude = XMath.Max(largest, MinNorm);
        float sum = 0.0f;
        for (int k = lane; k < p.Columns; k += Gpu.WarpSize)
        {
            float scaled = p.Unit[target + k] / magnitude;
            sum += scaled * scaled;
        }

        float relative = XMath.Sqrt(GroupSum.Warp(sum));  // |x| / magnitude
        bool isClamped = largest <= MinNorm && magnitude * relative <= MinNorm;
        float divisor = isClamped ? 1.0f : relative;
        for (int k = lane; k < p.Columns; k += Gpu.WarpSize)
        {
            p.Unit[target + k] = p.Unit[target + k] / magnitude / divisor;
        }

        if (lane == 0)
        {
            // In two steps, because the product of a tiny magnitude and the relative norm may be subnormal.
            p.InverseNorm[row] = isClamped ? 0.0f : 1.0f / relative / magnitude;
        }
    }
}
