<?php
// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

namespace local_manireports;

use local_manireports\cloud\states;

/**
 * States follow from recipients as they do in the sidecar.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
#[\PHPUnit\Framework\Attributes\CoversClass(states::class)]
final class cloud_states_test extends \advanced_testcase {
    /**
     * Closed, open child, submitted, states of recipients, and the job's state that follows.
     */
    public static function job_states(): array {
        return [
            [true, true, true, ['sent'], 'manual_retry'],
            [true, false, false, ['pending'], 'pending'],
            [false, false, false, ['permanently_failed'], 'pending'],
            [true, false, true, ['pending', 'processing'], 'queued'],
            [true, false, true, ['pending', 'sent'], 'processing'],
            [false, false, true, ['sent'], 'processing'],
            [true, false, true, ['sent', 'retry_pending'], 'retry_pending'],
            [true, false, true, ['sent', 'failed'], 'partial_failure'],
            [true, false, true, ['failed', 'permanently_failed'], 'failed'],
            [true, false, true, ['sent', 'unknown'], 'partial_failure'],
            [true, false, true, ['sent', 'permanently_failed', 'returned'], 'completed'],
            [true, false, false, ['returned', 'cancelled'], 'returned'],
            [true, false, false, ['cancelled'], 'cancelled'],
        ];
    }

    /**
     * A job's state is the first that fits.
     *
     * @dataProvider job_states
     * @param bool $closed
     * @param bool $openchild
     * @param bool $submitted
     * @param string[] $alive
     * @param string $state
     */
    #[\PHPUnit\Framework\Attributes\DataProvider('job_states')]
    public function test_job_state(bool $closed, bool $openchild, bool $submitted, array $alive, string $state): void {
        $this->assertSame($state, states::job_state($closed, $openchild, $submitted, $alive));
    }

    /**
     * A batch ends when its last mail has ended.
     */
    public function test_batch_state(): void {
        $this->assertNull(states::batch_state([]));
        $this->assertNull(states::batch_state(['sent', 'processing']));
        $this->assertSame('sent', states::batch_state(['sent', 'permanently_failed']));
        $this->assertSame('failed', states::batch_state(['permanently_failed']));
        $this->assertSame('partial_failure', states::batch_state(['sent', 'unknown']));
        $this->assertSame('returned', states::batch_state(['returned', 'cancelled']));
        $this->assertSame('cancelled', states::batch_state(['cancelled']));
    }
}
