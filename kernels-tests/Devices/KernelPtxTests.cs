// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

[TestFixture]
internal sealed class KernelPtxTests
{
    private static readonly MethodInfo s_gemm = typeof(GpuGemm).GetMethod(nameof(GpuGemm.Kernel))!;
    private static readonly MethodInfo s_eigen = typeof(EigenSymmetricGpu).GetMethod(nameof(EigenSymmetricGpu.Kernel))!;

    private static IEnumerable<TestCaseData> Kernels()
    {
        foreach (string target in new[] { "sm_80", "sm_90" })
        {
            yield return new TestCaseData(s_eigen, 512, target, new[] { "shfl.sync", "bar.sync" }).SetName($"Eigen {target}");
            foreach ((Type precision, string[] instructions) in new[]
                { (typeof(StrictPrecision), new[] { "mma.sync", "cvt.rna.tf32" }), (typeof(Tf32Precision), ["mma.sync", "cvt.rna.tf32"]), (typeof(Bf16Precision), ["mma.sync", "cvt.rn.bf16x2"]) })
            {
                yield return new TestCaseData(s_gemm.MakeGenericMethod(typeof(StridedMatrix), typeof(StridedMatrix), typeof(StridedMatrix), precision), GpuGemm.Threads, target, instructions)
                    .SetName($"Gemm {precision.Name} {target}");
            }
        }
    }

    [TestCaseSource(nameof(Kernels))]
    public void Compiles_to_instructions_without_local_memory_or_calls(MethodInfo kernel, int threads, string target, string[] instructions)
    {
        string ptx = OfflinePtx.Compile(kernel, threads, target);
        if (Environment.GetEnvironmentVariable("HIMO_DUMP_PTX") is { Length: > 0 } folder)
        {
            File.WriteAllText(Path.Combine(folder, TestContext.CurrentContext.Test.Name.Replace(' ', '_') + ".ptx"), ptx);
        }

        Assert.Multiple(() =>
        {
            Assert.That(ptx, Does.Contain($".target {target}"));
            Assert.That(ptx, Does.Contain($".maxntid {threads}"));
            Assert.That(ptx, Does.Not.Contain("call ").And.Not.Contain(".local").And.Not.Contain("cvta.shared"));
            foreach (string instruction in instructions)
            {
                Assert.That(ptx, Does.Contain(instruction));
            }
        });
    }
}
