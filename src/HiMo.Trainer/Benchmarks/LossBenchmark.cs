// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Times the fused loss against its plain forms: forward and backward through TorchSharp on both sides, in one process, in turn, so
/// that a busy machine hurts all of them alike. Results are compared before anything is timed.
/// </summary>
/// <param name="rows">N.</param>
/// <param name="columns">d.</param>
/// <param name="threads">Threads of libtorch and of the fused loss.</param>
/// <param name="seed">Of the features.</param>
/// <param name="repeats">Rounds; 0 takes what fits into about ten seconds, at least 5.</param>
internal sealed class LossBenchmark(int rows, int columns, int threads, long seed, int repeats)
{
    private const double LossTolerance = 1e-5;
    private const double GradientTolerance = 2e-3;
    private const double LogitScale = 4.6052;           // ln 100, where CLIP's training ends
    private const double BudgetMs = 10_000.0;
    private const int MinRounds = 5;
    private const int MaxRounds = 200;
    private const double WarmAgainMs = 100.0;

    // libtorch's idle threads wait busily for about this long and would take a processor from whoever is timed next.
    private static readonly TimeSpan s_settle = TimeSpan.FromMilliseconds(5);

    /// <summary>Runs everything.</summary>
    /// <param name="cancel">Checked between two runs.</param>
    /// <exception cref="InvalidOperationException">The forms do not agree.</exception>
    public LossBenchmarkResult Run(CancellationToken cancel)
    {
        TorchLoader.EnsureLoaded();
        set_num_threads(threads);
        using DisposeScope scope = NewDisposeScope();
        (Tensor images, Tensor texts) = PowerLawFeatures.Create(rows, columns, seed);
        Tensor[] inputs = [images.requires_grad_(), texts.requires_grad_(), tensor((float)LogitScale).requires_grad_()];

        MoLoOptions exact = new(), stopped = new() { BasisGradient = BasisGradient.Stopped };
        using MoLoLoss fused = new(exact, threads), fusedStopped = new(stopped, threads);

        // At large N the eigenvalues around the cut lie close together by themselves; timing does not depend on it.
        fused.Warning += _ => { };
        fusedStopped.Warning += _ => { };
        using PlainMoLoLoss plain = new(exact), plainEigh = new(exact, PlainMethod.Eigh), plainStopped = new(stopped, PlainMethod.Eigh);
        Contender[] contenders =
        [
            new("fused", () => Step(fused, inputs)),
            new("plain", () => Step(plain, inputs)),
            new("plain_eigh", () => Step(plainEigh, inputs)),
            new("fused_stopped", () => Step(fusedStopped, inputs)),
            new("plain_stopped", () => Step(plainStopped, inputs)),
            new("fused_forward", () => Forward(fused, inputs)),
        ];
        Compare(fused, plain, inputs, "autograd through SVD");
        Compare(fused, plainEigh, inputs, "autograd through eigh");
        Compare(fusedStopped, plainStopped, inputs, "basis stopped, eigh");

        int rounds = repeats > 0 ? repeats : Math.Clamp((int)(BudgetMs / contenders.Sum(each => each.Time())), MinRounds, MaxRounds);
        double fma = 0.0, sgemm = 0.0;
        for (int round = 0; round < rounds; round++)
        {
            if (round % Math.Max(1, rounds / 3) == 0)
            {
                fma = Math.Max(fma, FmaRate.Measure(threads));
                sgemm = Math.Max(sgemm, SgemmRate.Measure());
            }

            foreach (Contender contender in contenders)
            {
                cancel.ThrowIfCancellationRequested();
                contender.Measure();
            }
        }

        return new LossBenchmarkResult(rows, columns, fused.LastResult.M, threads, seed, rounds, contenders.ToDictionary(each => each.Name, each => each.Times), fma, sgemm);
    }

    /// <summary>Forward and backward, with the gradients forgotten.</summary>
    public static void Step(nn.Module<Tensor, Tensor, Tensor, Tensor> loss, Tensor[] inputs)
    {
        using DisposeScope scope = NewDisposeScope();
        loss.forward(inputs[0], inputs[1], inputs[2]).backward();

        // As an optimizer does before the next step: otherwise each backward adds to the last.
        foreach (Tensor input in inputs)
        {
            input.grad = null;
        }
    }

    private static void Forward(MoLoLoss loss, Tensor[] inputs)
    {
        using IDisposable constant = no_grad();
        using Tensor value = loss.forward(inputs[0], inputs[1], inputs[2]);
    }

    private static void Compare(MoLoLoss fused, PlainMoLoLoss plain, Tensor[] inputs, string name)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor[] actual = LossAndGradients(fused, inputs), expected = LossAndGradients(plain, inputs);
        for (int i = 0; i < actual.Length; i++)
        {
            double error = ((actual[i] - expected[i]).norm() / expected[i].norm()).item<float>();
            if (!(error <= (i == 0 ? LossTolerance : GradientTolerance)))
            {
                string what = i == 0 ? "loss" : $"gradient {i} of 3";
                throw new InvalidOperationException(FormattableString.Invariant($"bench loss: fused and plain ({name}) differ: {what} by {error:e1} relative"));
            }
        }

        if (fused.LastResult.M != plain.LastM)
        {
            throw new InvalidOperationException($"bench loss: fused keeps {fused.LastResult.M} components, plain ({name}) {plain.LastM}");
        }
    }

    private static Tensor[] LossAndGradients(nn.Module<Tensor, Tensor, Tensor, Tensor> loss, Tensor[] inputs)
    {
        Tensor value = loss.forward(inputs[0], inputs[1], inputs[2]);
        value.backward();
        Tensor[] all = [value.detach(), .. inputs.Select(input => input.grad!.clone())];
        foreach (Tensor input in inputs)
        {
            input.grad = null;
        }

        return all;
    }

    private sealed record Contender(string Name, Action Step)
    {
        private double _lastMs;

        public List<double> Times { get; } = [];

        public double Time()
        {
            long start = Stopwatch.GetTimestamp();
            Step();
            return _lastMs = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }

        /// <summary>A short step is run once more before, so that it is timed with its own code and data in the caches.</summary>
        public void Measure()
        {
            Thread.Sleep(s_settle);
            if (_lastMs < WarmAgainMs)
            {
                _ = Time();
            }

            Times.Add(Time());
        }
    }
}
