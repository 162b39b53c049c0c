// SPDX-License-Identifier: Apache-2.0

namespace HiMo.Kernels;

/// <summary>
/// What a form of the step works on, in each of some independent batches. One side is reconstructed (the keys), the other meets it (the queries): texts and images, or the reverse
/// for components = image, which transposes the logits and changes nothing else.
/// </summary>
internal struct StepOperands
{
    /// <summary>Unit queries, then unit keys; N x d each.</summary>
    public BatchView<float> Unit;

    /// <summary>1 / |x| of the queries, then of the keys; 0 at the clamp.</summary>
    public BatchView<float> InverseNorm;

    /// <summary>ln s, one element.</summary>
    public BatchView<float> LogitScale;

    /// <summary>Receives the gradient of the raw queries, N x d.</summary>
    public BatchView<float> GradQueries;

    /// <summary>Receives the gradient of the raw keys, N x d.</summary>
    public BatchView<float> GradKeys;

    /// <summary>Receives the step's numbers.</summary>
    public BatchView<float> Summary;

    /// <summary>Receives m of the keys and, where both sides are reconstructed, behind it of the queries.</summary>
    public BatchView<int> Kept;
}

/// <summary>One form of the step: where its intermediate results lie, and its launches.</summary>
internal abstract class StepFormGpu(MatrixShape shape, MoLoOptions options, GpuStepSettings settings)
{
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

    /// <summary>Whether batches share launches; otherwise they come one after the other.</summary>
    public abstract bool SharesLaunches { get; }

    /// <summary>Takes memory for every intermediate result.</summary>
    public abstract void Layout(DeviceArena arena);

    /// <summary>Enqueues everything behind the normalisation.</summary>
    public abstract void Run(BatchStream stream, StepOperands step);
}
