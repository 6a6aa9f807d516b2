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

namespace local_manireports\check;

use core\check\check;
use core\check\result;

/**
 * Status check: can the workers of every enabled company report their results?
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_callback extends check {
    #[\Override]
    public function get_name(): string {
        return get_string('cloudcheckcallback', 'local_manireports');
    }

    #[\Override]
    public function get_action_link(): ?\action_link {
        $url = new \moodle_url('/local/manireports/ui/cloud_settings.php');
        return new \action_link($url, get_string('cloudsettings', 'local_manireports'));
    }

    #[\Override]
    public function get_result(): result {
        global $DB;
        // Company 0 gives the defaults of all others, but never their being enabled.
        $companies = $DB->get_records('manireports_cloud_company_settings', null, 'company_id', 'company_id, provider, enabled,
            callback_key, CASE WHEN callback_secret IS NULL THEN 0 ELSE 1 END AS has_secret');
        $default = $companies[0] ?? null;
        $without = [];
        $cloud = 0;
        foreach ($companies as $company) {
            $provider = $company->provider ?: ($default->provider ?? '');
            if (!$company->enabled || !in_array($provider, ['aws', 'cloudflare'], true)) {
                continue;
            }
            $cloud++;
            $own = $company->callback_key ? $company : $default;
            if (!$own || !$own->callback_key || !$own->has_secret) {
                $without[] = $company->company_id;
            }
        }
        if (!$cloud) {
            return new result(result::NA, get_string('cloudchecknocloud', 'local_manireports'));
        }
        if ($without) {
            $list = implode(', ', $without);
            return new result(result::ERROR, get_string('cloudchecknosecret', 'local_manireports', $list));
        }
        return new result(result::OK, get_string('cloudchecksecret', 'local_manireports', $cloud));
    }
}
