// SPDX-License-Identifier: Apache-2.0
using BenchmarkDotNet.Attributes;
using HiMo.Interop;
using HiMo.Trainer;
using static TorchSharp.torch;

namespace HiMo.Kernels.Perf;

/// <summary>
/// The fused loss against both plain forms: forward, backward and both, through TorchSharp, float32, tau 0.9, smoothing 0.1. The
/// fused forward of a batch with gradients does all the work, its backward only scales; <c>Forward</c> here is without recording.
/// </summary>
[GroupBenchmarksBy(BenchmarkDotNet.Configs.BenchmarkLogicalGroupRule.ByCategory, BenchmarkDotNet.Configs.BenchmarkLogicalGroupRule.ByParams)]
[CategoriesColumn]
public class MoLoLossBenchmarks
{
    private const string Forward = "forward";
    private const string Backward = "backward";
    private const string Both = "both";

    private readonly List<Tensor> _recorded = [];
    private Tensor[] _inputs = [];
    private MoLoLoss _fused = null!;
    private PlainMoLoLoss _svd = null!;
    private PlainMoLoLoss _eigh = null!;

    /// <summary>N x d.</summary>
    [Params("128x512", "128x768", "256x512", "1024x512", "1024x768")]
    public string Size { get; set; } = "";

    [GlobalSetup]
    public void Prepare()
    {
        TorchLoader.EnsureLoaded();
        set_num_threads(Environment.ProcessorCount);
        int[] sizes = [.. Size.Split('x').Select(int.Parse)];
        (Tensor images, Tensor texts) = PowerLawFeatures.Create(sizes[0], sizes[1], seed: 1);
        _inputs = [images.requires_grad_(), texts.requires_grad_(), tensor(4.6052f).requires_grad_()];
        _fused = new MoLoLoss();
        _fused.Warning += _ => { };
        _svd = new PlainMoLoLoss();
        _eigh = new PlainMoLoLoss(method: PlainMethod.Eigh);
        _recorded.AddRange(new nn.Module<Tensor, Tensor, Tensor, Tensor>[] { _fused, _svd, _eigh }.Select(loss => loss.forward(_inputs[0], _inputs[1], _inputs[2])));
    }

    [GlobalCleanup]
    public void Free()
    {
        _recorded.ForEach(tensor => tensor.Dispose());
        _recorded.Clear();
        _fused.Dispose();
        _svd.Dispose();
        _eigh.Dispose();
        foreach (Tensor input in _inputs)
        {
            input.Dispose();
        }
    }

    [Benchmark(Baseline = true), BenchmarkCategory(Both)]
    public void FusedBoth() => Step(_fused);

    [Benchmark, BenchmarkCategory(Both)]
    public void PlainSvdBoth() => Step(_svd);

    [Benchmark, BenchmarkCategory(Both)]
    public void PlainEighBoth() => Step(_eigh);

    [Benchmark(Baseline = true), BenchmarkCategory(Forward)]
    public void FusedForward() => Evaluate(_fused);

    [Benchmark, BenchmarkCategory(Forward)]
    public void PlainSvdForward() => Evaluate(_svd);

    [Benchmark, BenchmarkCategory(Forward)]
    public void PlainEighForward() => Evaluate(_eigh);

    [Benchmark(Baseline = true), BenchmarkCategory(Backward)]
    public void FusedBackward() => Differentiate(_recorded[0]);

    [Benchmark, BenchmarkCategory(Backward)]
    public void PlainSvdBackward() => Differentiate(_recorded[1]);

    [Benchmark, BenchmarkCategory(Backward)]
    public void PlainEighBackward() => Differentiate(_recorded[2]);

    private void Step(nn.Module<Tensor, Tensor, Tensor, Tensor> loss)
    {
        using Tensor value = loss.forward(_inputs[0], _inputs[1], _inputs[2]);
        value.backward();
        ForgetGradients();
    }

    private void Evaluate(nn.Module<Tensor, Tensor, Tensor, Tensor> loss)
    {
        using IDisposable constant = no_grad();
        using Tensor value = loss.forward(_inputs[0], _inputs[1], _inputs[2]);
    }

    private void Differentiate(Tensor loss)
    {
        loss.backward(retain_graph: true);
        ForgetGradients();
    }

    private void ForgetGradients()
    {
        foreach (Tensor input in _inputs)
        {
            input.grad = null;
        }
    }
}
