// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Interop;

/// <summary>
/// HiDe alone as a TorchSharp module: each row rebuilt from the batch's mean and leading principal components,
/// u' = X Pᵀ P + 1 μᵀ, differentiable. Source: HiMo-CLIP (arXiv:2511.06653), equation 1.
/// </summary>
/// <remarks>
/// <para>Rows are taken as they are; HiMo-CLIP gives unit rows: <c>hide.forward(nn.functional.normalize(texts, dim: 1))</c>.
/// Inputs are float32, float64, float16 or bfloat16, with any strides; the arithmetic is float32, output and gradient
/// come in the input's type. One instance may be used by several threads at once.</para>
/// <para>CUDA tensors are used in place (float64 and columns that are not contiguous are copied to float32 first), in libtorch's own context, on its current stream, without waiting: values are not looked at there, so NaN in gives NaN
/// out. NotSupportedException names a shape that the GPU does not have.</para>
/// <para>Backward uses the eigensystem of its forward pass as long as no other forward pass came between, and decomposes the batch
/// again otherwise, with the same bits; on a device always. Gradients that are not finite give a gradient of NaN. It can be differentiated
/// once only, see <see cref="MoLoLoss"/>.</para>
/// </remarks>
/// <example>
/// <code>
/// using torch.Tensor texts = torch.randn(32, 64, requires_grad: true);
/// using HiDeComponents hide = new(tau: 0.9);
/// using torch.Tensor unit = torch.nn.functional.normalize(texts, dim: 1);
/// using torch.Tensor components = hide.forward(unit);
/// using torch.Tensor loss = components.square().sum();
/// loss.backward();
/// Console.WriteLine($"{hide.LastResult.M} components explain {hide.LastResult.ExplainedVariance}");
/// </code>
/// </example>
public sealed partial class HiDeComponents : nn.Module<Tensor, Tensor>
{
    private readonly InstancePool<Decomposition> _pool;
    private readonly OneTimeWarnings _warnings = new(nameof(HiDeComponents));
    private readonly double _tau;
    private volatile Evaluation? _last;

    /// <summary>Prepares the decomposition.</summary>
    /// <param name="tau">Share of the variance that the kept components must reach; in (0, 1].</param>
    /// <param name="basisGradient">Whether the principal directions are differentiated or held constant.</param>
    /// <param name="threads">Worker threads; 0 takes one per processor. The result does not depend on it.</param>
    /// <exception cref="ArgumentException">A value is outside its range.</exception>
    /// <exception cref="DllNotFoundException">No libtorch was found; the message names the package to reference.</exception>
    public HiDeComponents(double tau = 0.9, BasisGradient basisGradient = BasisGradient.Exact, int threads = 0)
        : base(TorchLoader.NameOf<HiDeComponents>())
    {
        _tau = tau;
        _pool = new InstancePool<Decomposition>(() => new Decomposition(new HiDe(tau, basisGradient, threads)));
        _deviceHiDe = new Lazy<HiDe>(() => new HiDe(tau, basisGradient, threads: 1));
        _ = _pool.Use(decomposition => decomposition.Calls);       // finds values out of range here
    }

    /// <summary>
    /// Raised at most once per kind of warning, with one line of text, for example when the batch is too small for HiDe to drop
    /// anything. Where nobody listens the line goes to standard error.
    /// </summary>
    public event Action<string>? Warning
    {
        add => _warnings.Listeners += value;
        remove => _warnings.Listeners -= value;
    }

    /// <summary>m, explained variance and gap of the last call; the default before the first. On a GPU, asking waits for it,
    /// and is the moment when <see cref="Warning"/> may be raised.</summary>
    public HiDeResult LastResult => _last is { } last ? last.OnDevice?.Read() ?? last.Result : default;

    /// <summary>Eigenvalues of the last call's centred rows, descending, min(N, d) of them; empty before the first call and on a GPU.</summary>
    public IReadOnlyList<float> LastSpectrum => _last?.Spectrum ?? [];

    /// <summary>The batch rebuilt from its leading components, N x d.</summary>
    /// <param name="texts">N x d, finite; unit rows in HiMo-CLIP.</param>
    /// <returns>u', in the input's type; it belongs to the caller's dispose scope.</returns>
    /// <exception cref="ArgumentException">A shape, type, device or value is not as described; the message names the argument.</exception>
    public override Tensor forward(Tensor texts)
    {
        Features.CheckMatrix(texts, mayBeOnGpu: true);
        using DisposeScope scope = NewDisposeScope();
        bool recording = is_grad_enabled() && texts.requires_grad;
        using IDisposable constant = no_grad();
        bool onDevice = TorchStream.IsOnDevice(texts, _emulated);
        Tensor rows = onDevice ? TensorMemory.RowsOnDevice(texts) : TensorMemory.RowMajorFloat32(texts);
        Tensor components = empty(texts.size(0), texts.size(1), ScalarType.Float32, texts.device);
        Func<Tensor, Tensor, Tensor> backward = onDevice ? ForwardOnDevice(rows, components) : ForwardOnCpu(rows, components);
        Tensor result = components.to(texts.dtype);
        if (!recording)
        {
            return result.MoveToOuterDisposeScope();
        }

        using IDisposable recorded = enable_grad();
        return HiDeFunction.Link(texts, result, rows.detach().clone(), backward).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _pool.Dispose();
            _workspaces.Dispose();
            if (_deviceHiDe.IsValueCreated)
            {
                _deviceHiDe.Value.Dispose();
            }
        }

        base.Dispose(disposing);
    }

    private HiDeResult Told(HiDeResult found)
    {
        _warnings.Tell(found.Warnings, found.M, found.RelativeGap, _tau);
        return found;
    }

    /// <summary>Writes u'.</summary>
    /// <returns>dL/dtexts from the rows and dL/du'.</returns>
    private Func<Tensor, Tensor, Tensor> ForwardOnCpu(Tensor rows, Tensor components) => _pool.Use<Func<Tensor, Tensor, Tensor>>(decomposition =>
    {
        int call = decomposition.Forward(rows, components);
        _last = new Evaluation(Told(decomposition.Hide.Results[0]), decomposition.Hide.Spectrum(0).ToArray(), OnDevice: null);
        return (saved, outer) => Backward(decomposition, call, saved, outer);
    });

    /// <summary>dL/dtexts; throws nothing, as it runs inside libtorch.</summary>
    private Tensor Backward(Decomposition used, int call, Tensor rows, Tensor gradComponents)
    {
        Tensor outer = TensorMemory.RowMajorFloat32(gradComponents);
        if (!outer.isfinite().all().item<bool>())
        {
            return full_like(rows, float.NaN);
        }

        Tensor gradTexts = empty_like(rows);
        return _pool.Use(
            decomposition =>
            {
                if (decomposition != used || decomposition.Calls != call)
                {
                    _ = decomposition.Forward(rows, empty_like(rows));
                }

                decomposition.Hide.Backward(TensorMemory.Read(rows), TensorMemory.Read(outer), TensorMemory.Write(gradTexts));
                return gradTexts;
            },
            wanted: used);
    }

    /// <summary>A workspace that still holds the eigensystem of its last forward pass, and the number of that pass.</summary>
    private sealed class Decomposition(HiDe hide) : IDisposable
    {
        public HiDe Hide => hide;

        public int Calls { get; private set; }

        public int Forward(Tensor rows, Tensor components)
        {
            Calls++;                                  // before the call: if it throws, what was held is gone
            hide.Forward(TensorMemory.Read(rows), groups: 1, TensorMemory.Write(components));
            return Calls;
        }

        public void Dispose() => hide.Dispose();
    }

    /// <summary>One object, so that a reader on another thread never sees half of it.</summary>
    private sealed record Evaluation(HiDeResult Result, float[] Spectrum, DeviceResult<HiDeResult>? OnDevice);
}
