// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>
/// What a form of the step works on. One side is reconstructed (the keys), the other meets it (the queries): texts and images, or the reverse
/// for components = image, which transposes the logits and changes nothing else.
/// </summary>
internal struct StepOperands
{
    /// <summary>Unit queries, then unit keys; N x d each.</summary>
    public ArrayView<float> Unit;

    /// <summary>1 / |x| of the queries, then of the keys; 0 at the clamp.</summary>
    public ArrayView<float> InverseNorm;

    /// <summary>ln s, one element.</summary>
    public ArrayView<float> LogitScale;

    /// <summary>Receives the gradient of the raw queries, N x d.</summary>
    public ArrayView<float> GradQueries;

    /// <summary>Receives the gradient of the raw keys, N x d.</summary>
    public ArrayView<float> GradKeys;

    /// <summary>Receives the step's numbers.</summary>
    public ArrayView<float> Summary;

    /// <summary>Receives m of the keys and, where both sides are reconstructed, of the queries.</summary>
    public ArrayView<int> Kept;
}

/// <summary>One form of the step: where its intermediate results lie, and its launches.</summary>
internal abstract class StepFormGpu(MatrixShape shape, MoLoOptions options, GpuStepSettings settings)
{
    /// <summary>Threads of the groups that work a warp a row.</summary>
    protected const int Threads = 128;

    /// <summary>N.</summary>
    protected int Rows => shape.Rows;

    /// <summary>d.</summary>
    protected int Columns => shape.Columns;

    /// <summary>What is computed.</summary>
    protected MoLoOptions Options => options;

    /// <summary>How.</summary>
    protected GpuStepSettings Settings => settings;

    /// <summary>Whether the gradient goes through the principal directions.</summary>
    protected bool IsExact => options.BasisGradient == BasisGradient.Exact;

    /// <summary>Whether reconstructed rows are scaled to unit length.</summary>
    protected bool IsCosine => options.ComponentNormalization == ComponentNormalization.Cosine;

    /// <summary>Takes memory for every intermediate result.</summary>
    public abstract void Layout(DeviceArena arena);

    /// <summary>Enqueues everything behind the normalisation.</summary>
    public abstract void Run(Gpu gpu, AcceleratorStream stream, StepOperands step);

    /// <summary>Groups that cover a number of warps.</summary>
    protected static Index3D Warps(int count) => new(((count * Gpu.WarpSize) + Threads - 1) / Threads, 1, 1);

    /// <summary>Enqueues a product with the error of float32.</summary>
    protected static void Multiply<TA, TB, TC>(Gpu gpu, AcceleratorStream stream, int groups, GemmArguments<TA, TB, TC> product)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        GpuGemm.Run<TA, TB, TC, StrictPrecision>(gpu, stream, groups, product);

    /// <summary>Enqueues a product in the precision of the settings.</summary>
    protected void Contrast<TA, TB, TC>(Gpu gpu, AcceleratorStream stream, int groups, GemmArguments<TA, TB, TC> product)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
    {
        switch (settings.Precision)
        {
            case GpuPrecision.Tf32:
                GpuGemm.Run<TA, TB, TC, Tf32Precision>(gpu, stream, groups, product);
                break;
            case GpuPrecision.Bf16:
                GpuGemm.Run<TA, TB, TC, Bf16Precision>(gpu, stream, groups, product);
                break;
            default:
                GpuGemm.Run<TA, TB, TC, StrictPrecision>(gpu, stream, groups, product);
                break;
        }
    }
}
