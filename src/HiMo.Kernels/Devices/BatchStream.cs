// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Where launches go, and how many independent batches each of them is for.</summary>
/// <param name="Gpu">The device.</param>
/// <param name="Stream">Orders the launches.</param>
/// <param name="Batches">Extent of Grid.Z, see <see cref="BatchView{T}"/>.</param>
internal readonly record struct BatchStream(Gpu Gpu, AcceleratorStream Stream, int Batches)
{
    /// <summary>Most batches of a launch: what Grid.Z can count.</summary>
    public const int MaxBatches = 65535;

    /// <summary>Enqueues a kernel that works a warp a line, in each of some parts.</summary>
    public void Lines<TArguments>(Action<TArguments> kernel, int lines, TArguments arguments, int parts = 1)
        where TArguments : struct =>
        Elements(kernel, lines * Gpu.WarpSize, arguments, parts);

    /// <summary>Enqueues a kernel that works a thread an element, in each of some parts.</summary>
    public void Elements<TArguments>(Action<TArguments> kernel, int elements, TArguments arguments, int parts = 1)
        where TArguments : struct =>
        Gpu.Launch(Stream, kernel, new Index3D((elements + Gpu.LineThreads - 1) / Gpu.LineThreads, parts, Batches), Gpu.LineThreads, arguments);

    /// <summary>Enqueues a product with the error of float32.</summary>
    /// <param name="groups">Products of a batch.</param>
    /// <param name="product">Sizes, operands and result.</param>
    public void Multiply<TA, TB, TC>(int groups, GemmArguments<TA, TB, TC> product)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        Multiply(groups, product, GpuPrecision.Strict);

    /// <summary>Enqueues a product with the error of float32, and lines beside it.</summary>
    /// <param name="groups">Products of a batch.</param>
    /// <param name="product">Sizes, operands and result.</param>
    /// <param name="lines">What the launch does beside it.</param>
    public void Multiply<TA, TB, TC, TLines>(int groups, GemmArguments<TA, TB, TC> product, TLines lines)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TLines : struct, IGemmLines
    {
        if (Gpu.IsOpenCl)
        {
            GpuGemm.RunWithLines<TA, TB, TC, TLines, PortablePrecision>(Gpu, Stream, groups, product, lines, Batches);
        }
        else
        {
            GpuGemm.RunWithLines<TA, TB, TC, TLines, StrictPrecision>(Gpu, Stream, groups, product, lines, Batches);
        }
    }

    /// <summary>Enqueues a product in a given precision.</summary>
    /// <param name="groups">Products of a batch.</param>
    /// <param name="product">Sizes, operands and result.</param>
    /// <param name="precision">How operands are rounded.</param>
    public void Multiply<TA, TB, TC>(int groups, GemmArguments<TA, TB, TC> product, GpuPrecision precision)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
    {
        switch (precision)
        {
            case GpuPrecision.Tf32:
                GpuGemm.Run<TA, TB, TC, Tf32Precision>(Gpu, Stream, groups, product, Batches);
                break;
            case GpuPrecision.Bf16:
                GpuGemm.Run<TA, TB, TC, Bf16Precision>(Gpu, Stream, groups, product, Batches);
                break;
            case GpuPrecision.Strict when Gpu.IsOpenCl:
                GpuGemm.Run<TA, TB, TC, PortablePrecision>(Gpu, Stream, groups, product, Batches);
                break;
            default:
                GpuGemm.Run<TA, TB, TC, StrictPrecision>(Gpu, Stream, groups, product, Batches);
                break;
        }
    }
}
