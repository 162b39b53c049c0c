// SPDX-License-Identifier: Apache-2.0
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using HiMo.Interop;
using HiMo.Trainer;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Perf;

/// <summary>
/// The step's three operators alone, forward and backward, each against plain operations of libtorch: unit rows (ours on one thread), HiDe, the contrast in
/// both directions. Results are compared before anything is timed.
/// </summary>
[GroupBenchmarksBy(BenchmarkLogicalGroupRule.ByCategory, BenchmarkLogicalGroupRule.ByParams)]
[CategoriesColumn]
public class TrainingStepOperatorBenchmarks
{
    private const string Norms = "unit rows";
    private const string Components = "HiDe";
    private const string Contrast = "contrast";
    private const double LogitScale = 4.6052;
    private const double Smoothing = 0.1;               // without it these well-matched pairs have a loss of zero, and nothing could be compared
    private const double Tolerance = 1e-5;

    private readonly HiDeComponents _hide = new();
    private readonly PlainMoLoLoss _eigh = new(method: PlainMethod.Eigh);
    private readonly MoLo _molo = new(new MoLoOptions { Lambda = 0.0, LabelSmoothing = Smoothing });
    private Tensor _images = null!;
    private Tensor _texts = null!;
    private Tensor _outer = null!;
    private Tensor _first = null!;
    private Tensor _second = null!;
    private Tensor _targets = null!;
    private Tensor _one = null!;

    /// <summary>N x d.</summary>
    [Params("128x512", "128x768", "256x512", "1024x768")]
    public string Size { get; set; } = "";

    [GlobalSetup]
    public void Prepare()
    {
        TorchLoader.EnsureLoaded();
        set_num_threads(Environment.ProcessorCount);
        int[] sizes = [.. Size.Split('x').Select(int.Parse)];
        (Tensor images, Tensor texts) = PowerLawFeatures.Create(sizes[0], sizes[1], seed: 1);
        _images = nn.functional.normalize(images, dim: 1).requires_grad_();
        _texts = nn.functional.normalize(texts, dim: 1).requires_grad_();
        _outer = randn_like(_texts).detach();
        (_first, _second) = (empty_like(_images).detach(), empty_like(_texts).detach());
        _targets = arange(sizes[0], int64);
        _one = tensor(1.0f);
        _hide.Warning += _ => { };
        using DisposeScope scope = NewDisposeScope();
        FusedUnitRows();
        Compare(Norms, _first, PlainUnits());
        Compare(Components, _hide.forward(_texts), _eigh.Reconstruct(_texts));
        Compare(Contrast, tensor((float)FusedContrast().Loss), PlainContrastLoss());
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _hide.Dispose();
        _eigh.Dispose();
        _molo.Dispose();
    }

    [BenchmarkCategory(Norms)]
    [Benchmark]
    public void FusedUnitRows()
    {
        L2NormalizeCpu.Forward(TensorMemory.Read(_texts), TensorMemory.Write(_first));
        L2NormalizeCpu.Backward(TensorMemory.Read(_texts), TensorMemory.Read(_outer), TensorMemory.Write(_second));
    }

    [BenchmarkCategory(Norms)]
    [Benchmark(Baseline = true)]
    public void PlainUnitRows() => Backward(PlainUnits(), _outer);

    [BenchmarkCategory(Components)]
    [Benchmark]
    public void FusedHiDe() => Backward(_hide.forward(_texts), _outer);

    [BenchmarkCategory(Components)]
    [Benchmark(Baseline = true)]
    public void PlainHiDe() => Backward(_eigh.Reconstruct(_texts), _outer);

    [BenchmarkCategory(Contrast)]
    [Benchmark]
    public MoLoResult FusedContrast()
    {
        MoLoFeatures features = new() { Images = TensorMemory.Read(_images), Texts = TensorMemory.Read(_texts) };
        MoLoGradients gradients = new() { Images = TensorMemory.Write(_first), Texts = TensorMemory.Write(_second) };
        return _molo.Run(features, features, 0, LogitScale, gradients, default);
    }

    [BenchmarkCategory(Contrast)]
    [Benchmark(Baseline = true)]
    public void PlainContrast() => Backward(PlainContrastLoss(), _one);

    private Tensor PlainUnits() => nn.functional.normalize(_texts, dim: 1);

    private Tensor PlainContrastLoss()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor logits = _images.mm(_texts.t()) * tensor((float)Math.Exp(LogitScale));
        return (nn.functional.cross_entropy(logits, _targets, label_smoothing: Smoothing) + nn.functional.cross_entropy(logits.t(), _targets, label_smoothing: Smoothing)).mul(tensor(0.5f)).MoveToOuterDisposeScope();
    }

    private void Compare(string name, Tensor fused, Tensor plain)
    {
        double error = ((fused - plain).norm() / plain.norm()).item<float>();
        if (!(error <= Tolerance))
        {
            throw new InvalidOperationException($"{Size}, {name}: ours and libtorch's differ by {error:e1} relative.");
        }
    }

    /// <summary>With the gradients forgotten, as an optimizer does before the next step.</summary>
    private void Backward(Tensor result, Tensor outer)
    {
        using DisposeScope scope = NewDisposeScope();
        result.backward([outer]);
        result.Dispose();
        (_images.grad, _texts.grad) = (null, null);
    }
}
