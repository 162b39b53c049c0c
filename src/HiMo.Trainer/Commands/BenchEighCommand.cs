// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Globalization;
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;

namespace HiMo.Trainer;

/// <summary><c>bench eigh</c>: the managed symmetric eigensystem against libtorch's <c>linalg.eigh</c>, with the errors of both.</summary>
internal static class BenchEighCommand
{
    private static readonly int[] s_sizes = [64, 128, 256, 512, 768, 1024, 1280];

    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<int> threads = new("--threads") { Description = "Threads of both sides; 0 takes one per processor.", HelpName = "N" };
        Option<double> seconds = new("--seconds") { Description = "Time for each size.", HelpName = "S", DefaultValueFactory = _ => 2.0 };
        Command command = new("eigh", "Symmetric eigensystems of Gram matrices with a power-law spectrum: time, residual, orthogonality.") { threads, seconds };
        command.Set((parse, cancel) => Run(parse.GetValue(threads), parse.GetValue(seconds), parse.InvocationConfiguration.Output, cancel));
        return command;
    }

    private static unsafe void Run(int threads, double seconds, TextWriter output, CancellationToken cancel)
    {
        TorchLoader.EnsureLoaded();
        using WorkerPool pool = new(threads);
        torch.set_num_threads(pool.Threads);
        output.WriteLine($"{"n",5} | {"ours ms",9} {"median",9} | {"torch ms",9} {"median",9} {"ratio",6} | {"residual",9} {"torch",9} | {"orthog.",9} {"torch",9}");
        foreach (int n in s_sizes)
        {
            using torch.Tensor gram = Gram(n);
            float[] source = [.. gram.data<float>()];
            float[] matrix = new float[n * n];
            float[] values = new float[n];
            float[] vectors = new float[n * n];
            using EigenSymmetric eigen = new(n, pool);
            Timing[] times = InterleavedTiming.Run(
                seconds, 5, cancel,
                () =>
                {
                    source.CopyTo(matrix, 0);
                    fixed (float* pm = matrix, pv = values, pw = vectors)
                    {
                        eigen.Decompose(pm, pv, pw);
                    }
                },
                () =>
                {
                    (torch.Tensor theirValues, torch.Tensor theirVectors) = torch.linalg.eigh(gram);
                    theirValues.Dispose();
                    theirVectors.Dispose();
                });
            using torch.Tensor ours = torch.tensor(vectors, [n, n]).t();
            using torch.Tensor ourValues = torch.tensor(values);
            (torch.Tensor referenceValues, torch.Tensor reference) = torch.linalg.eigh(gram);
            (double residual, double orthogonality) = Errors(gram, ourValues, ours);
            (double theirResidual, double theirOrthogonality) = Errors(gram, referenceValues, reference);
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{n,5} | {times[0].Minimum,9:F3} {times[0].Median,9:F3} | {times[1].Minimum,9:F3} {times[1].Median,9:F3} {times[1].Minimum / times[0].Minimum,6:F2} | {residual,9:E1} {theirResidual,9:E1} | {orthogonality,9:E1} {theirOrthogonality,9:E1}"));
        }
    }

    /// <summary>X X^T of centred unit rows whose singular values fall as 1 / (i + 1).</summary>
    private static torch.Tensor Gram(int n)
    {
        using torch.Generator generator = new(1);
        using DisposeScope scope = torch.NewDisposeScope();
        torch.Tensor decay = 1.0 / (torch.arange(n, dtype: torch.float64) + 1.0);
        torch.Tensor rows = torch.randn([n, n], dtype: torch.float64, generator: generator) * decay;
        rows = torch.nn.functional.normalize(rows.mm(torch.randn([n, n], dtype: torch.float64, generator: generator)), dim: 1);
        rows -= rows.mean([0], keepdim: true);
        return rows.mm(rows.t()).to(torch.float32).MoveToOuterDisposeScope();
    }

    /// <summary>max |A w - value w| / |A| and max |W^T W - I|, in float64.</summary>
    private static (double Residual, double Orthogonality) Errors(torch.Tensor matrix, torch.Tensor values, torch.Tensor vectors)
    {
        using DisposeScope scope = torch.NewDisposeScope();
        torch.Tensor w = vectors.to(torch.float64);
        torch.Tensor lambda = values.to(torch.float64);
        torch.Tensor residual = (matrix.to(torch.float64).mm(w) - (w * lambda)).norm(0).max() / lambda.abs().max();
        torch.Tensor orthogonality = (w.t().mm(w) - torch.eye(w.shape[0], dtype: torch.float64)).abs().max();
        return (residual.item<double>(), orthogonality.item<double>());
    }
}
