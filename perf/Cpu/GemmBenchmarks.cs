// SPDX-License-Identifier: Apache-2.0
using BenchmarkDotNet.Attributes;
using HiMo.Interop;
using TorchSharp;

namespace HiMo.Kernels.Perf;

/// <summary>C = A B^T of the sizes that the loss needs, against libtorch.</summary>
public unsafe class GemmBenchmarks
{
    private WorkerPool _pool = null!;
    private float[] _a = [];
    private float[] _b = [];
    private float[] _c = [];
    private torch.Tensor _left = null!;
    private torch.Tensor _right = null!;
    private torch.Tensor _product = null!;

    [Params(1, 2)]
    public int Threads { get; set; }

    [Params("128x128x768", "128x768x128", "256x256x512", "512x512x512", "1024x1024x768")]
    public string Shape { get; set; } = "";

    private int M => int.Parse(Shape.Split('x')[0]);

    private int N => int.Parse(Shape.Split('x')[1]);

    private int K => int.Parse(Shape.Split('x')[2]);

    [GlobalSetup]
    public void Setup()
    {
        TorchLoader.EnsureLoaded();
        torch.set_num_threads(Threads);
        _pool = new WorkerPool(Threads);
        _left = (torch.rand(M, K) * 2.0f) - 1.0f;
        _right = ((torch.rand(N, K) * 2.0f) - 1.0f).t();
        _product = torch.zeros(M, N);
        _a = [.. _left.data<float>()];
        _b = [.. _right.t().data<float>()];
        _c = new float[M * N];
        Ours();
        Libtorch();
        using torch.Tensor ours = torch.tensor(_c, [M, N]);
        double difference = (ours - _product).abs().max().item<float>();
        if (!(difference <= 1.2e-7 * K * Math.Sqrt(K)))
        {
            throw new InvalidOperationException($"{Shape}: products differ by {difference}.");
        }
    }

    [GlobalCleanup]
    public void Cleanup() => _pool.Dispose();

    [Benchmark]
    public void Ours()
    {
        fixed (float* a = _a, b = _b, c = _c)
        {
            Gemm.Multiply(_pool, M, N, K, 1.0f, a, K, 1, b, 1, K, 0.0f, c, N);
        }
    }

    [Benchmark(Baseline = true)]
    public void Libtorch() => _product.addmm_(_left, _right, beta: 0.0f, alpha: 1.0f);
}
