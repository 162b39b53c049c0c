// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>
/// Device memory of <see cref="HiDe"/>'s passes on <see cref="GpuMatrix"/> for one shape on one device: what a backward pass needs of the last
/// forward pass, and that one's results. Passes allocate nothing, but for conversions at their first use. One workspace serves one stream at a
/// time.
/// </summary>
/// <example>
/// <code>
/// using Gpu gpu = Gpu.OpenEmulated(warps: 4);
/// using HiDe hide = new(tau: 0.9, threads: 1);
/// Console.WriteLine($"{hide.WorkspaceBytes(new MatrixShape(128, 768), groups: 64)} bytes of device memory for 64 batches of the paper's size");
/// using HiDeGpuWorkspace workspace = hide.CreateWorkspace(gpu, new MatrixShape(4, 8), groups: 2);
/// Console.WriteLine($"{workspace.Bytes} for 2 of 4 x 8");
/// </code>
/// </example>
public sealed class HiDeGpuWorkspace : IDisposable
{
    private const int Texts = 0;
    private const int Result = 1;
    private const int GradComponents = 2;

    private readonly HiDeGpu _hide;
    private readonly DenseCopies _copies;
    private bool _hasRun;
    private bool _isDisposed;

    internal HiDeGpuWorkspace(HiDe owner, Gpu gpu, MatrixShape shape, int groups, HiDeGpu hide)
    {
        Owner = owner;
        Gpu = gpu;
        Shape = shape;
        Groups = groups;
        _hide = hide;
        _copies = new DenseCopies(gpu, groups * shape.Length, count: 3);
        using PrimaryContext.Scope scope = PrimaryContext.Enter(gpu.Accelerator);
        hide.TakeMemory(gpu);
    }

    /// <summary>The device.</summary>
    public Gpu Gpu { get; }

    /// <summary>N x d of each group.</summary>
    public MatrixShape Shape { get; }

    /// <summary>Number G of groups.</summary>
    public int Groups { get; }

    /// <summary>Bytes of device memory, dense float32 matrices given.</summary>
    public long Bytes => _hide.Bytes;

    /// <summary>Bytes more, once, for texts, results and dL/du' that are not dense float32.</summary>
    public long BytesPerConversion => Groups * Shape.Length * sizeof(float);

    /// <summary>Explained variance and relative gap of each group of the last forward pass, G x 2 in device memory.</summary>
    public GpuMatrix Summary => new(_hide.Rank, Groups, 2);

    internal HiDe Owner { get; }

    /// <summary>What the last forward pass found, one entry a group, on the host. Waits until the stream has come that far.</summary>
    /// <param name="stream">The stream of that pass; null: the device's default stream.</param>
    /// <exception cref="InvalidOperationException">Nothing has run.</exception>
    /// <exception cref="GpuException">The pass failed on the device.</exception>
    /// <exception cref="ObjectDisposedException">The workspace has been disposed.</exception>
    public HiDeResult[] ReadResults(AcceleratorStream? stream = null)
    {
        ThrowUnlessForward(nameof(ReadResults));
        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        AcceleratorStream used = stream ?? Gpu.Accelerator.DefaultStream;
        int[] kept = new int[Groups];
        float[] rank = new float[2 * Groups];
        Gpu.Read(used, _hide.Kept, kept.AsSpan());
        Gpu.Read(used, _hide.Rank, rank.AsSpan());
        return [.. kept.Select((m, group) => ToResult(m, rank[2 * group], rank[(2 * group) + 1], Shape))];
    }

    /// <summary>Words of <see cref="CopyResult"/>: explained variance, relative gap, the bits of m.</summary>
    internal const int ResultLength = 3;

    /// <summary>The numbers of a single group as the CPU form reports them.</summary>
    /// <param name="words">Those of <see cref="CopyResult"/>.</param>
    /// <param name="shape">N x d.</param>
    internal static HiDeResult ToResult(ReadOnlySpan<float> words, MatrixShape shape) => ToResult(BitConverter.SingleToInt32Bits(words[2]), words[0], words[1], shape);

    /// <summary>Enqueues a copy of the first group's numbers within the device.</summary>
    /// <param name="stream">The stream of the last forward pass.</param>
    /// <param name="target">1 x <see cref="ResultLength"/>.</param>
    internal void CopyResult(AcceleratorStream stream, GpuMatrix target)
    {
        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        ArrayView<float> words = target.As<float>();
        words.SubView(0, 2).CopyFrom(stream, _hide.Rank.SubView(0, 2));
        words.SubView(2, 1).CopyFrom(stream, _hide.Kept.Cast<float>().SubView(0, 1));
    }

    private static HiDeResult ToResult(int m, float explained, float gap, MatrixShape shape) =>
        new(m, explained, gap, new ExplainedRank(m, m, 0.0, gap).Warnings(shape.Rows, shape.Columns));

    /// <summary>Frees the memory; work that uses it must have been waited for.</summary>
    public void Dispose()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
            _hide.Dispose();
            _copies.Dispose();
        }
    }

    internal void ThrowUnlessForward(string caller)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (!_hasRun)
        {
            throw new InvalidOperationException($"{caller}: there was no forward pass with this workspace; call HiDe.Forward first.");
        }
    }

    internal void Forward(AcceleratorStream stream, GpuMatrix texts, GpuMatrix components)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        ArrayView<float> result = _copies.Output(Result, components);
        _hide.Forward(stream, _copies.Input(stream, Texts, texts), result);
        _copies.Deliver(stream, result, components);
        _hasRun = true;
    }

    internal void Backward(AcceleratorStream stream, GpuMatrix texts, GpuMatrix gradComponents, GpuMatrix gradTexts)
    {
        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        ArrayView<float> result = _copies.Output(Result, gradTexts);
        _hide.Backward(stream, _copies.Input(stream, Texts, texts), _copies.Input(stream, GradComponents, gradComponents), result);
        _copies.Deliver(stream, result, gradTexts);
    }
}
