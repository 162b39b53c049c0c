// SPDX-License-Identifier: Apache-2.0
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using HiMo.Interop;
using HiMo.Trainer;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Perf;

/// <summary>The step's three operators alone, forward and backward, each against plain operations of libtorch: unit rows, HiDe, the contrast in both directions.</summary>
[GroupBenchmarksBy(BenchmarkLogicalGroupRule.ByCategory, BenchmarkLogicalGroupRule.ByParams)]
[CategoriesColumn]
public class TrainingStepOperatorBenchmarks
{
    private const string Norms = "unit rows";
    private const string Components = "HiDe";
    private const string Contrast = "contrast";
    private const double LogitScale = 4.6052;

    private readonly HiDeComponents _hide = new();
    private readonly PlainMoLoLoss _eigh = new(method: PlainMethod.Eigh);
    private readonly MoLo _molo = new(new MoLoOptions { Lambda = 0.0, LabelSmoothing = 0.0 });
    private Tensor _images = null!;
    private Tensor _texts = null!;
    private Tensor _outer = null!;
    private Tensor _first = null!;
    private Tensor _second = null!;
    private Tensor _targets = null!;

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
        _hide.Warning += _ => { };
        double fused = FusedContrast().Loss, plain = PlainContrastLoss().item<float>();
        if (!(Math.Abs(fused - plain) <= 1e-5 * Math.Abs(plain)))
        {
            throw new InvalidOperationException($"{Size}: the contrast is {fused} here and {plain} in libtorch.");
        }
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
    public void PlainUnitRows() => Backward(nn.functional.normalize(_texts, dim: 1), _outer);

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
    public void PlainContrast() => Backward(PlainContrastLoss(), null);

    private Tensor PlainContrastLoss()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor logits = _images.mm(_texts.t()) * tensor((float)Math.Exp(LogitScale));
        return (nn.functional.cross_entropy(logits, _targets) + nn.functional.cross_entropy(logits.t(), _targets)).mul(tensor(0.5f)).MoveToOuterDisposeScope();
    }

    /// <summary>With the gradients forgotten, as an optimizer does before the next step.</summary>
    private void Backward(Tensor result, Tensor? outer)
    {
        using DisposeScope scope = NewDisposeScope();
        if (outer is null)
        {
            result.backward();
        }
        else
        {
            result.backward([outer]);
        }

        result.Dispose();
        (_images.grad, _texts.grad) = (null, null);
    }
}
