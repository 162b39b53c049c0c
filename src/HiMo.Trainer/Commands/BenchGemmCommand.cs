// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Globalization;
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;

namespace HiMo.Trainer;

/// <summary><c>bench gemm</c>: the managed matrix product against libtorch's and against the machine's rate of fused multiply-adds.</summary>
internal static class BenchGemmCommand
{
    // Squares, and the products of a step of (N, d): logits N x N x d, and gradients N x d x N.
    private static readonly (int M, int N, int K)[] s_shapes =
    [
        (128, 128, 512), (128, 512, 128), (128, 128, 768), (128, 768, 128), (256, 256, 512), (256, 512, 256), (256, 256, 256), (512, 512, 512),
        (768, 768, 768), (1024, 1024, 768), (1024, 768, 1024), (1024, 1024, 1024), (2048, 2048, 768),
    ];

    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<int> threads = new("--threads") { Description = "Threads of both sides; 0 takes one per processor.", HelpName = "N" };
        Option<double> seconds = new("--seconds") { Description = "Time for each size.", HelpName = "S", DefaultValueFactory = _ => 1.0 };
        Command command = new("gemm", "Matrix products of the sizes that the loss needs: ours, libtorch's, and the share of the FMA loop's rate.") { threads, seconds };
        command.Set((parse, cancel) => Run(parse.GetValue(threads), parse.GetValue(seconds), parse.InvocationConfiguration.Output, cancel));
        return command;
    }

    private static unsafe void Run(int threads, double seconds, TextWriter output, CancellationToken cancel)
    {
        TorchLoader.EnsureLoaded();
        using WorkerPool pool = new(threads);
        torch.set_num_threads(pool.Threads);
        output.WriteLine($"{"m",5} {"n",5} {"k",5} | {"ours ms",9} {"median",9} | {"torch ms",9} {"median",9} | {"GFLOP/s",8} {"torch",8} {"FMA loop",8} | {"of FMA",7} {"ratio",6}");
        foreach ((int m, int n, int k) in s_shapes)
        {
            using torch.Tensor a = (torch.rand(m, k) * 2.0f) - 1.0f;
            using torch.Tensor b = (torch.rand(n, k) * 2.0f) - 1.0f;
            using torch.Tensor transposed = b.t();
            using torch.Tensor expected = torch.zeros(m, n);
            float[] ours = new float[m * n];
            float[] left = a.data<float>().ToArray();
            float[] right = b.data<float>().ToArray();
            fixed (float* pa = left, pb = right, pc = ours)
            {
                float* x = pa;
                float* y = pb;
                float* z = pc;
                double fma = FmaRate.Measure(pool.Threads);
                Timing[] times = InterleavedTiming.Run(
                    seconds, 5, cancel,
                    () => Gemm.Multiply(pool, m, n, k, 1.0f, x, k, 1, y, 1, k, 0.0f, z, n),
                    () => expected.addmm_(a, transposed, beta: 0.0f, alpha: 1.0f));
                Check(ours, expected, k);
                double flops = 2e-6 * m * n * k;
                output.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{m,5} {n,5} {k,5} | {times[0].Minimum,9:F4} {times[0].Median,9:F4} | {times[1].Minimum,9:F4} {times[1].Median,9:F4} | {flops / times[0].Minimum,8:F1} {flops / times[1].Minimum,8:F1} {fma,8:F1} | {flops / times[0].Minimum / fma,7:P0} {times[1].Minimum / times[0].Minimum,6:F2}"));
            }
        }
    }

    private static void Check(float[] ours, torch.Tensor expected, int k)
    {
        float[] theirs = [.. expected.data<float>()];
        for (int i = 0; i < ours.Length; i++)
        {
            // Two float32 sums of k terms up to 1: each within k half ulps of k (far from reached).
            if (!(Math.Abs(ours[i] - theirs[i]) <= 1.2e-7 * k * Math.Sqrt(k)))
            {
                throw new InvalidOperationException($"bench gemm: element {i} is {ours[i]} here and {theirs[i]} in libtorch");
            }
        }
    }
}
