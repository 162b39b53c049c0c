// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using ILGPU;
using ILGPU.Runtime.CPU;

namespace HiMo.Kernels;

/// <summary>
/// The barrier of a group, __syncthreads. Compilers see ILGPU's <see cref="Group"/>. ILGPU's CPU accelerator waits three times at a barrier, twice to
/// agree on shared memory that was allocated in a loop, which no kernel here does; a wait changes threads once a lane, and an emulated kernel takes
/// as long as its waits. This one waits once.
/// </summary>
internal static class GroupBarrier
{
    // Internals of ILGPU, which has no other way to its barrier; the package's version is pinned.
    private static readonly PropertyInfo s_group = Of("CPURuntimeGroupContext").GetProperty("Current")!;
    private static readonly PropertyInfo s_multiprocessor = Of("CPURuntimeContext").GetProperty("Multiprocessor")!;
    private static readonly MethodInfo s_barrier = Of("CPUMultiprocessor").GetMethod("GroupBarrier")!;

    // Lanes belong to one group for their whole life.
    [ThreadStatic]
    private static Func<int>? s_wait;

    /// <summary>Waits until every thread of the group has come here.</summary>
    public static void Wait()
    {
        s_wait ??= s_barrier.CreateDelegate<Func<int>>(s_multiprocessor.GetValue(s_group.GetValue(null)));
        _ = s_wait();
        Emulation.BehindBarriers?.Invoke();
    }

    /// <summary>Waits like <see cref="Wait"/> and tells whether the predicate is true for any thread, __syncthreads_or.</summary>
    public static bool Or(bool predicate)
    {
        bool isAny = Group.BarrierOr(predicate);
        Emulation.BehindBarriers?.Invoke();
        return isAny;
    }

    private static Type Of(string name) => typeof(CPUAccelerator).Assembly.GetType($"ILGPU.Runtime.CPU.{name}", throwOnError: true)!;
}
