// Package mounted keeps in mind what this process has mounted of a layer store whose
// layers other processes remove.
package mounted
