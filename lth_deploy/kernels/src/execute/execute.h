// Runs the instructions of a region, one after the other, each spread over the threads.
#pragma once

#include <atomic>
#include <vector>

#include "execute/profile.h"
#include "execute/workspace.h"
#include "plan/plan.h"
#include "plan/region.h"

namespace lth {

// threads: how many workers were seen at work so far; decides how finely small layers are split, never a result.
void execute(const Compiled&, const Plan&, const std::vector<const float*>& inputs, const std::vector<float*>& outputs,
             Parallel&, Workspace&, std::atomic<int>& threads, Profile&);

}  // namespace lth
