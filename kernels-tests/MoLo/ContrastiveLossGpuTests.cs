// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The passes over factors by themselves: B local rows against N gathered ones, whose target is offset.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class ContrastiveLossGpuTests
{
    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = TestGpu.Open(warps: 4);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    [TestCase(1, 2, 3, 1)]
    [TestCase(3, 65, 5, 62)]
    [TestCase(65, 70, 17, 3)]
    public void Rows_against_gathered_columns(int rows, int columns, int width, int offset)
    {
        FactorLossCase given = new(FactorLossCase.Unit(rows, width, 1, rounded: false), FactorLossCase.Unit(columns, width, 2, rounded: false), 3.0f) { TargetOffset = offset };
        using FactorLossRun run = new(_gpu, given);
        run.IsNear(5e-6, 1e-3);
    }
}
