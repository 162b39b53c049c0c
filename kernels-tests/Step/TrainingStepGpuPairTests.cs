// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>
/// Steps on the GPU against the reference for generated combinations of sizes around the tiles, options, precisions and settings, in which every two of
/// their values meet. Outputs begin as NaN and have guards behind them.
/// </summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class TrainingStepGpuPairTests
{
    private const double LogitScale = 1.0;

    // 1, 2, 3, tile - 1, tile, tile + 1, 2 tile + 3.
    private static readonly int[] s_sizes = [1, 2, 3, 31, 32, 33, 67];

    // Precision of the contrastive products; whether they may use warpgroup instructions.
    private static readonly (GpuPrecision Precision, bool Warpgroups)[] s_precisions =
    [
        (GpuPrecision.Strict, true), (GpuPrecision.Tf32, true), (GpuPrecision.Bf16, true), (GpuPrecision.Bf16, false),
    ];

    // Weights of the global branch and of the component branch.
    private static readonly (double Global, double Component)[] s_weights = [(1.3, 0.7), (0.0, 1.0), (1.0, 0.0)];

    // Large tiles; small tiles where a large one would be alone. In emulation each also with the lanes that warpgroup instructions need.
    private readonly Gpu[] _devices = new Gpu[2];
    private readonly Gpu[] _wide = new Gpu[2];

    [OneTimeSetUp]
    public void Open()
    {
        Open(_devices, warps: 4);
        Open(_wide, warps: 8);

        static void Open(Gpu[] devices, int warps)
        {
            devices[0] = TestGpu.Open(warps);
            devices[1] = TestGpu.IsReal ? devices[0] : Gpu.OpenEmulated(warps, multiprocessors: 2);
        }
    }

    [OneTimeTearDown]
    public void Close()
    {
        Array.ForEach(_devices, gpu => gpu.Dispose());
        Array.ForEach(_wide, gpu => gpu.Dispose());
    }

    private static IEnumerable<TestCaseData> Combinations()
    {
        int both = Enum.GetValues<ComponentSource>().Length;
        foreach (int[] choice in AllPairs.Of(s_sizes.Length, s_sizes.Length, s_precisions.Length, both, s_weights.Length, 2, 2, 2, 2, 2, 2, 2, 2, 2))
        {
            int n = s_sizes[choice[0]], d = s_sizes[choice[1]];
            MoLoOptions options = new()
            {
                Components = (ComponentSource)choice[3], GlobalWeight = s_weights[choice[4]].Global, Lambda = s_weights[choice[4]].Component,
                ComponentNormalization = (ComponentNormalization)choice[5], BasisGradient = (BasisGradient)choice[6], GatherWithGrad = choice[7] == 0,
                LabelSmoothing = choice[8] == 0 ? 0.1 : 0.0, Tau = choice[9] == 0 ? 0.9 : 0.7,
            };
            GpuStepSettings settings = TestGpu.Settings with
            {
                LargestGroupProblem = choice[10] == 0 ? EigenSymmetricGpu.MaxSize : 1, StripRows = choice[11] == 0 ? 1024 : 64, Groups = 1 + choice[12],
            };
            yield return new TestCaseData(n, d, options, settings, choice[2], choice[13]).SetArgDisplayNames(
                $"{n}x{d}", $"{s_precisions[choice[2]].Precision}", $"warpgroups={s_precisions[choice[2]].Warpgroups}", $"{options.Components}", $"weights={options.GlobalWeight}:{options.Lambda}",
                $"{options.ComponentNormalization}", $"{options.BasisGradient}", $"gather={options.GatherWithGrad}", $"smoothing={options.LabelSmoothing}", $"tau={options.Tau}",
                $"largest={settings.LargestGroupProblem}", $"strip={settings.StripRows}", $"groups={settings.Groups}", $"device={choice[13]}");
        }
    }

    [TestCaseSource(nameof(Combinations))]
    public void Agrees_with_the_reference(int n, int d, MoLoOptions options, GpuStepSettings settings, int precision, int device)
    {
        (GpuPrecision name, bool warpgroups) = s_precisions[precision];
        (double loss, double gradient) = TestGpu.Tolerance(name);
        Batch[] batches = [.. Enumerable.Range(1, settings.Groups).Select(seed => Batch.Create(n, d, seed, options.Tau))];

        GpuStepRun all = GpuStepRun.Of(
            (name == GpuPrecision.Bf16 && warpgroups ? _wide : _devices)[device], [.. batches.SelectMany(batch => batch.SingleImages)], [.. batches.SelectMany(batch => batch.SingleTexts)], n, d, LogitScale, options,
            settings with { Precision = name, Warpgroups = warpgroups });

        for (int group = 0; group < settings.Groups; group++)
        {
            Batch batch = batches[group];
            ReferenceStep expected = TrainingStepReference.Run(Batch.Widen(batch.SingleImages), Batch.Widen(batch.SingleTexts), n, d, LogitScale, options);
            all.Part(group, settings.Groups).IsNear(expected, loss, gradient, leastLoss: n == 1 ? 1.0 : 0.0);
        }
    }
}
