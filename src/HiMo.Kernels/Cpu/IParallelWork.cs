// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>Work cut into independent tasks for <see cref="WorkerPool.Run"/>.</summary>
internal interface IParallelWork
{
    /// <summary>Does one task.</summary>
    /// <param name="task">From 0 to the number of tasks; each comes exactly once, in no promised order.</param>
    /// <param name="thread">From 0 to <see cref="WorkerPool.Threads"/>; two tasks that run at the same time see different ones.</param>
    void Run(int task, int thread);
}
